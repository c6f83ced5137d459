"""What runs in a job, on the job's own Python, whatever that is (3.8 or newer). Standard library and Jupyter only."""
