"""What travels: frames, names, payloads, close codes. Pure: fed and drained by `service.wire`, it touches no socket."""
