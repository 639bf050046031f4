"""What any job on Spark is served by: workers, slots, GPUs, descriptions."""
