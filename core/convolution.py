"""Curvature statistics of a convolution (KFC) from one minibatch. Pure functions.

h: [K or 1, n, H, W, C] inputs of the layer; 1 if all particles share them.
ds: [K, n, H', W', D] d log p(y | x, W) / d s, per example, NOT divided by n.

At location t the layer sees the patch a_t, [k_h k_w C + 1], in the order (row, column, channel)
with the 1 appended; its weights are [k_h k_w C + 1, D]. There are T = H' W' locations. The
gradient of one example is the sum over locations, sum_t a_t ds_t^T.

Reference: Grosse and Martens (2016), https://arxiv.org/abs/1602.01573
"""
import collections

import tensorflow.compat.v1 as tf

from core.linalg import project

CHUNK_NUMBERS = 2**26  # numbers that per-example gradients and patches may hold at a time: 256 MiB of float32


class Geometry(collections.namedtuple("Geometry", ["kernel", "strides", "padding"])):
    """kernel: (k_h, k_w); strides: (rows, columns); padding: SAME or VALID."""

    def output(self, size):
        """(H', W') for inputs of (H, W)."""
        if self.padding == "SAME":
            return tuple(-(-length // stride) for length, stride in zip(size, self.strides))
        return tuple((length - k) // stride + 1 for length, k, stride in zip(size, self.kernel, self.strides))

    def padded(self, images):
        """images [N, H, W, C] with the zeros of the padding, cut to what the kernel touches."""
        size = [int(length) for length in images.shape[1:3]]
        reach = [(out - 1) * stride + k for out, stride, k in zip(self.output(size), self.strides, self.kernel)]
        missing = [max(0, r - length) for r, length in zip(reach, size)]
        images = tf.pad(images, [[0, 0]] + [[m // 2, m - m // 2] for m in missing] + [[0, 0]])
        return images[:, :reach[0], :reach[1]]

    def shifted(self, padded, row, column):
        """[N, H', W', C]: what offset (row, column) of the kernel sees at each location."""
        last = [int(length) - k for length, k in zip(padded.shape[1:3], self.kernel)]
        return padded[:, row:row + last[0] + 1:self.strides[0], column:column + last[1] + 1:self.strides[1]]


def gradient(h, ds, geometry):
    """E[sum_t a_t ds_t^T], mean over particles and examples: [k_h k_w C + 1, D]."""
    h, ds = _same_particles(h, ds)
    images, scores = _flat(h), _flat(ds)
    kernel = _correlation(geometry.padded(images), scores, geometry)
    bias = tf.reduce_sum(scores, axis=[0, 1, 2])[None, :]
    return tf.concat([kernel, bias], axis=0) / _count(images)


def second_moments(h, ds, geometry):
    """(A, S) = (E[sum_t a_t a_t^T], E[sum_t ds_t ds_t^T] / T), so that the Fisher is close to A (x) S.

    A is built from correlations of the images with shifted copies of themselves, an offset of
    the kernel at a time: the patches, k_h k_w times the size of the images, are never made.
    """
    images, scores = _flat(h), _flat(ds)
    padded = geometry.padded(images)
    rows, sums = [], []
    for row in range(geometry.kernel[0]):
        for column in range(geometry.kernel[1]):
            seen = geometry.shifted(padded, row, column)
            rows.append(_correlation(padded, seen, geometry))
            sums.append(tf.reduce_sum(seen, axis=[0, 1, 2]))
    n_locations = float(int(ds.shape[2]) * int(ds.shape[3]))
    first, total = tf.concat(rows, axis=1), tf.concat(sums, axis=0)[:, None]
    corner = tf.reshape(_count(images) * n_locations, [1, 1])
    a_cov = tf.concat([tf.concat([first, total], axis=1), tf.concat([tf.transpose(total), corner], axis=1)], axis=0)
    flat = tf.reshape(scores, [-1, int(scores.shape[-1])])
    return a_cov / _count(images), tf.matmul(flat, flat, transpose_a=True) / (_count(scores) * n_locations)


def squared_gradient(h, ds, geometry):
    """Diagonal of the Fisher: E[(sum_t a_t ds_t^T)^2] of per-EXAMPLE gradients; [k_h k_w C + 1, D]."""
    return _mean_of_squares(h, ds, geometry, lambda gradients: gradients)


def eigenbasis_scale(h, ds, q_a, q_s, geometry):
    """Diagonal R of the Fisher in the Kronecker eigenbasis, E[(Q_a^T G Q_s)^2] with G = sum_t a_t ds_t^T; as above."""
    return _mean_of_squares(h, ds, geometry, lambda gradients: project(gradients, q_a, q_s))


def patches(images, geometry):
    """[N, H, W, C] -> [N, T, k_h k_w C + 1] with the 1 appended."""
    padded = geometry.padded(images)
    seen = [geometry.shifted(padded, row, column) for row in range(geometry.kernel[0])
            for column in range(geometry.kernel[1])]
    rows = tf.concat(seen, axis=-1)
    rows = tf.reshape(rows, [-1, int(rows.shape[1]) * int(rows.shape[2]), int(rows.shape[3])])
    return tf.concat([rows, tf.ones_like(rows[..., :1])], axis=-1)


def chunk_size(geometry, height, width, channels, outputs):
    """Examples whose patches and gradients fit into CHUNK_NUMBERS; at least 1."""
    d_in = geometry.kernel[0] * geometry.kernel[1] * channels + 1
    n_locations = height * width
    return max(1, CHUNK_NUMBERS // (d_in * n_locations + 2 * d_in * outputs))


def _mean_of_squares(h, ds, geometry, change):
    """Mean over particles and examples of change(per-example gradient)^2, a chunk of examples at a time."""
    h, ds = _same_particles(h, ds)
    images, scores = _flat(h), _flat(ds)
    height, width, outputs = (int(length) for length in scores.shape[1:])
    channels = int(images.shape[-1])
    size = chunk_size(geometry, height, width, channels, outputs)
    d_in = geometry.kernel[0] * geometry.kernel[1] * channels + 1
    total = tf.shape(images)[0]

    def add(start, sums):
        rows = patches(images[start:start + size], geometry)
        part = tf.reshape(scores[start:start + size], [-1, height * width, outputs])
        gradients = tf.matmul(rows, part, transpose_a=True)
        return start + size, sums + tf.reduce_sum(tf.square(change(gradients)), axis=0)

    _, sums = tf.while_loop(lambda start, _: start < total, add, [0, tf.zeros([d_in, outputs], images.dtype)],
                            back_prop=False, parallel_iterations=1)
    return sums / _count(images)


def _correlation(padded, seen, geometry):
    """sum over images and locations of (patch without the 1) (seen)^T: [k_h k_w C, D]."""
    k_h, k_w = geometry.kernel
    channels, outputs = int(padded.shape[-1]), int(seen.shape[-1])
    kernel = tf.nn.conv2d_backprop_filter(
        padded, [k_h, k_w, channels, outputs], seen, strides=[1, *geometry.strides, 1], padding="VALID")
    return tf.reshape(kernel, [k_h * k_w * channels, outputs])


def _same_particles(h, ds):
    """Inputs that all particles share, repeated for each."""
    return tf.broadcast_to(h, tf.concat([tf.shape(ds)[:1], tf.shape(h)[1:]], axis=0)), ds


def _flat(images):
    """[K, n, H, W, C] -> [K n, H, W, C]."""
    return tf.reshape(images, [-1] + [int(length) for length in images.shape[2:]])


def _count(images):
    return tf.cast(tf.shape(images)[0], images.dtype)
