"""The options of a mixer, from the plain data that `variants` has."""


def built(options):
    """Options with an update rule and a network in the place of theirs."""
    from keras_titans.memory import MLPMemory
    from keras_titans.memory import Titans

    options = dict(options)
    for name, kind in (("update_rule", Titans), ("network", MLPMemory)):
        if name in options:
            options[name] = kind(**options[name])
    return options
