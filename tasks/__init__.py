"""One thin Prefect task a stage. They resolve references, call the core in a child process and store what it left."""
