"""A double; ``cuda`` itself stays a namespace, so that what else lies in it is found."""
