"""How a builder says that it does not know this combination of attributes: the node then becomes opaque."""


class Unsupported(Exception):
    """This operator, or this use of it, has no torch builder."""
