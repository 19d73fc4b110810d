"""What both ends speak: codec, framing, authentication, references to large objects."""
