"""The instruments: the load generator as a process, CPU and memory of the servers, facts about the machine."""
