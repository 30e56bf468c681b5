"""What is run in the lab. Each module gives its cases by `cases()`."""
