"""One module for each kind of AWS resource that a stage needs: how it is found, set up and checked."""
