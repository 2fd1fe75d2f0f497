"""What runs on the laptop that deploys; not shipped to Lambda."""
