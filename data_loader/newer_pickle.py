"""Python 3.7 only: reads a DataFrame that a newer Python and pandas have pickled."""
import lzma


def read_frame(path):
    """The frame in an xz-compressed pickle of protocol 5, through the backport pickle5."""
    import pickle5
    from pandas.core.internals.blocks import new_block

    class Unpickler(pickle5.Unpickler):
        """Knows the one name that pandas 1.3 spells differently."""

        def find_class(self, module, name):
            if (module, name) == ("pandas._libs.internals", "_unpickle_block"):
                return lambda values, placement, ndim: new_block(values, placement, ndim=ndim)
            return super().find_class(module, name)

    with lzma.open(str(path)) as handle:
        return Unpickler(handle).load()
