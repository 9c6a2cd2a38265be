"""What a message may contain. The rules for the other parts of a message are in `service.domain.message`."""
