"""What is measured and with what: the load generator as a process, CPU and memory of the servers, the machine."""
