"""Python 3.7 only: reads a DataFrame that a newer Python and pandas have pickled."""
import lzma
import pickle
import struct

# NOTE: not the backport pickle5: joblib picks it up where it is installed, and its workers then fail.


class _Protocol5(pickle._Unpickler):
    """Python's own slow unpickler with what protocol 5 added, and one name that pandas 1.3 spells differently."""

    dispatch = dict(pickle._Unpickler.dispatch)

    def load_proto(self):
        self.proto = self.read(1)[0]

    def load_bytearray8(self):
        (length,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(length)))

    dispatch[pickle.PROTO[0]] = load_proto
    dispatch[0x96] = load_bytearray8

    def find_class(self, module, name):
        if (module, name) == ("pandas._libs.internals", "_unpickle_block"):
            from pandas.core.internals.blocks import new_block

            return lambda values, placement, ndim: new_block(values, placement, ndim=ndim)
        return super().find_class(module, name)


def read_frame(path):
    """The frame in an xz-compressed pickle of protocol 5 (out-of-band buffers excepted)."""
    with lzma.open(str(path)) as handle:
        return _Protocol5(handle).load()
