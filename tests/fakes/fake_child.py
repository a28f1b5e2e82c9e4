"""A module whose children do what they are told, as what a decoder may meet."""


def main(arguments: list[str]) -> int:
    """Run a piece of Python; 0 where it ends well."""
    for code in arguments:
        exec(code, {})
    return 0
