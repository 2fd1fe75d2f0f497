"""What runs on the machine that deploys: the Lambda package and checks of the Zappa settings."""
