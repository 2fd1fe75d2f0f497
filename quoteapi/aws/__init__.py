"""Code that runs on AWS Lambda: tasks, schedules, error reports, the authorizer and tracing."""
