"""Curvature statistics of a convolution (KFC) from one minibatch. Pure functions.

With K particles (weight draws) and n examples:
h: [K or 1, n, H, W, C] inputs of the layer; the first axis is 1 if all particles share them.
ds: [K, n, H', W', D] d log p(y | x, W) / d s, per example, NOT divided by n.

At location t the layer sees the patch a_t, [k_h k_w C + 1], in the order (row, column, channel) with the 1 appended;
its weights are [k_h k_w C + 1, D]. There are T = H' W' locations. The gradient of one example is the sum over
locations, G = sum_t a_t ds_t^T.

The functions are those of `factors.LayerStatistics`, with the Geometry of the convolution as a further argument (but
for the two of `FactoredWeights.core`, which are given patches).

Reference: Grosse and Martens (2016), https://arxiv.org/abs/1602.01573
"""
from typing import Callable, Dict, Tuple

import tensorflow.compat.v1 as tf

from core.inference.linalg import for_each_particle, project, times_right
from core.inference.posteriors import Coordinates
from networks.geometry import Geometry

CHUNK_NUMBERS = 2**25  # bound on the numbers in the patches and per-example gradients of one chunk: 128 MiB of float32


def gradient(h: tf.Tensor, ds: tf.Tensor, geometry: Geometry) -> tf.Tensor:
    """Returns E[sum_t a_t ds_t^T], mean over particles and examples: [k_h k_w C + 1, D]."""
    h = for_each_particle(h, ds)
    images, scores = _flat(h), _flat(ds)
    shape = [*geometry.kernel, int(images.shape[3]), int(scores.shape[3])]
    kernel = tf.nn.conv2d_backprop_filter(images, shape, scores, strides=[1, *geometry.strides, 1],
                                          padding=geometry.padding)
    bias = tf.reduce_sum(scores, axis=[0, 1, 2])[None, :]
    return tf.concat([tf.reshape(kernel, [-1, shape[3]]), bias], axis=0) / _count(images)


def particle_gradients(h: tf.Tensor, ds: tf.Tensor, geometry: Geometry) -> tf.Tensor:
    """Returns the gradient of each particle, mean over examples: [K, k_h k_w C + 1, D]."""
    n_particles, shared = int(ds.shape[0]), int(h.shape[0]) == 1
    return tf.stack([gradient(h if shared else h[k:k + 1], ds[k:k + 1], geometry) for k in range(n_particles)])


def second_moments(h: tf.Tensor, ds: tf.Tensor, geometry: Geometry) -> Tuple[tf.Tensor, tf.Tensor]:
    """Returns (A, S) = (E[sum_t a_t a_t^T], E[sum_t ds_t ds_t^T] / T), so that the Fisher is close to kron(A, S).

    Shapes: A [k_h k_w C + 1, k_h k_w C + 1], S [D, D]; neither is damped.

    The patches, k_h k_w times the size of the images, are never built. Instead, the 1 x k_w patches of every image row
    (k_w times the size of the images) are built once. A is assembled from products of these rows; each pair of rows is
    multiplied once.
    """
    images, scores = _flat(h), _flat(ds)
    height = int(images.shape[1])
    strips = _strips(images, geometry)
    blocks = _row_products(strips, geometry)
    rows = [tf.concat([blocks[row, other] if row <= other else tf.transpose(blocks[other, row])
                       for other in range(geometry.kernel[0])], axis=1) for row in range(geometry.kernel[0])]
    by_row = tf.reduce_sum(tf.reduce_sum(strips, axis=0), axis=1)  # one sum over both axes would be slower
    sums = [tf.reduce_sum(by_row[seen.start:seen.stop:seen.step], axis=0)
            for seen in (geometry.seen_rows(row, row, height) for row in range(geometry.kernel[0]))]
    n_locations = float(int(ds.shape[2]) * int(ds.shape[3]))
    first, total = tf.concat(rows, axis=0), tf.concat(sums, axis=0)[:, None]
    corner = tf.reshape(_count(images) * n_locations, [1, 1])
    a_cov = tf.concat([tf.concat([first, total], axis=1), tf.concat([tf.transpose(total), corner], axis=1)], axis=0)
    flat = tf.reshape(scores, [-1, int(scores.shape[-1])])
    return a_cov / _count(images), tf.matmul(flat, flat, transpose_a=True) / (_count(scores) * n_locations)


def squared_gradient(h: tf.Tensor, ds: tf.Tensor, geometry: Geometry) -> tf.Tensor:
    """Returns the diagonal of the Fisher: E[(sum_t a_t ds_t^T)^2] of per-EXAMPLE gradients; [k_h k_w C + 1, D]."""
    def gradients(images: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
        return _example_gradients(patches(images, geometry), scores)

    return _mean_of_squares(h, ds, _patch_size(h, geometry), gradients)


def core_gradient(a: tf.Tensor, ds: tf.Tensor) -> tf.Tensor:
    """Returns E[sum_t a_t ds_t^T], mean over particles and examples, of patches in any coordinates: [d_in + 1, D].

    Args:
      a: [K or 1, n, H', W', d_in + 1].
      ds: [K, n, H', W', D].
    """
    a = for_each_particle(a, ds)
    rows, scores = (tf.reshape(array, [-1, int(array.shape[-1])]) for array in (a, ds))
    return tf.matmul(rows, scores, transpose_a=True) / _count(_flat(a))


def core_squared_gradient(a: tf.Tensor, ds: tf.Tensor) -> tf.Tensor:
    """Returns E[(sum_t a_t ds_t^T)^2], [d_in + 1, D]; arguments as for `core_gradient`."""
    width, n_locations = int(a.shape[-1]), int(a.shape[2]) * int(a.shape[3])

    def gradients(images: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
        return _example_gradients(tf.reshape(images, [-1, n_locations, width]), scores)

    return _mean_of_squares(a, ds, width, gradients)


def eigenbasis_scale(h: tf.Tensor, ds: tf.Tensor, q_a: tf.Tensor, q_s: tf.Tensor, geometry: Geometry) -> tf.Tensor:
    """Returns R = E[(Q_A^T G Q_S)^2], the diagonal of the Fisher in the Kronecker eigenbasis; [k_h k_w C + 1, D].

    G = sum_t a_t ds_t^T is an example's gradient. If T <= D, patches and scores are rotated before the sum over
    locations; otherwise the sum is rotated. This takes fewer operations.

    Args:
      q_a, q_s: Q_A and Q_S, orthogonal [k_h k_w C + 1, k_h k_w C + 1] and [D, D].

    Reference: George et al. (2018), Sec. 3, https://arxiv.org/abs/1806.03884
    """
    n_locations, outputs = int(ds.shape[2]) * int(ds.shape[3]), int(ds.shape[4])

    def projected_gradients(images: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
        rows = patches(images, geometry)
        if n_locations <= outputs:
            return _example_gradients(times_right(rows, q_a), times_right(scores, q_s))
        return project(_example_gradients(rows, scores), q_a, q_s)

    return _mean_of_squares(h, ds, _patch_size(h, geometry), projected_gradients)


def output_covariance(h: tf.Tensor, ds: tf.Tensor, coordinates: Coordinates, geometry: Geometry) -> tf.Tensor:
    """Returns the covariance of the outputs that are linear in the layer's weights, J Sigma J^T, [n, C, C].

    The Jacobian of output c is sum_t a_t g_ct^T; all of them are built, [n, C, k_h k_w C + 1, D].

    Args:
      h: the same for all C outputs.
      ds: g_c = d f_c / d s of each output c, [C, n, H', W', D].
    """
    n_outputs, height, width, channels = int(ds.shape[0]), *(int(length) for length in ds.shape[2:])
    rows = coordinates.of_inputs(patches(h[0], geometry))
    scores = coordinates.of_outputs(tf.reshape(ds, [n_outputs, -1, height * width, channels]))
    jacobians = tf.matmul(rows[:, None], tf.transpose(scores, [1, 0, 2, 3]), transpose_a=True)
    flat = [n_outputs, int(rows.shape[-1]) * channels]
    weighted, jacobians = (tf.reshape(array, [-1, *flat]) for array in (jacobians * coordinates.variance, jacobians))
    return tf.matmul(weighted, jacobians, transpose_b=True)


def patches(images: tf.Tensor, geometry: Geometry) -> tf.Tensor:
    """Returns the patches a_t of images, [N, H, W, C] -> [N, T, k_h k_w C + 1], with the 1 appended."""
    padded = geometry.padded(images)
    seen = [geometry.shifted(padded, row, column) for row in range(geometry.kernel[0])
            for column in range(geometry.kernel[1])]
    rows = tf.concat(seen, axis=-1)
    rows = tf.reshape(rows, [-1, int(rows.shape[1]) * int(rows.shape[2]), int(rows.shape[3])])
    return tf.concat([rows, tf.ones_like(rows[..., :1])], axis=-1)


def chunk_size(n_locations: int, patch_size: int, outputs: int) -> int:
    """Returns how many examples are handled at a time, at least 1.

    Their patches and gradients, and the projections of both, hold at most CHUNK_NUMBERS numbers in all, unless a single
    example needs more.

    Args:
      n_locations: T, of the layer's outputs.
      patch_size, outputs: k_h k_w C + 1 and D.
    """
    return max(1, CHUNK_NUMBERS // (2 * patch_size * (n_locations + outputs)))


def _mean_of_squares(h: tf.Tensor, ds: tf.Tensor, patch_size: int,
                     gradients: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """Returns the mean of gradients(images, scores)^2 over particles and examples, one chunk of examples at a time.

    Args:
      gradients: function (images [m, H, W, C], scores [m, T, D]) -> [m, patch_size, D].
    """
    h = for_each_particle(h, ds)
    images, scores = _flat(h), _flat(ds)
    height, width, outputs = (int(length) for length in scores.shape[1:])
    size = chunk_size(height * width, patch_size, outputs)
    total = tf.shape(images)[0]

    def add(start: tf.Tensor, sums: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
        part = tf.reshape(scores[start:start + size], [-1, height * width, outputs])
        return start + size, sums + tf.reduce_sum(tf.square(gradients(images[start:start + size], part)), axis=0)

    _, sums = tf.while_loop(lambda start, _: start < total, add, [0, tf.zeros([patch_size, outputs], images.dtype)],
                            back_prop=False, parallel_iterations=1)
    return sums / _count(images)


def _patch_size(h: tf.Tensor, geometry: Geometry) -> int:
    """Returns k_h k_w C + 1."""
    return geometry.kernel[0] * geometry.kernel[1] * int(h.shape[-1]) + 1


def _example_gradients(rows: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """Returns sum_t a_t ds_t^T of each example: [n, T, d_in + 1], [n, T, D] -> [n, d_in + 1, D]."""
    return tf.matmul(rows, scores, transpose_a=True)


def _strips(images: tf.Tensor, geometry: Geometry) -> tf.Tensor:
    """Returns the 1 x k_w patches of every image row: [N, H, W, C] -> [N, H, W', k_w C]."""
    size, n_columns = int(images.shape[2]), geometry.output((int(images.shape[1]), int(images.shape[2])))[1]
    padded = tf.pad(images, [[0, 0], [0, 0], [-geometry.first_seen(0, 0, 1, size), geometry.kernel[1]], [0, 0]])
    reach = (n_columns - 1) * geometry.strides[1] + 1
    return tf.concat([padded[:, :, column:column + reach:geometry.strides[1]] for column in range(geometry.kernel[1])],
                     axis=3)


def _row_products(strips: tf.Tensor, geometry: Geometry) -> Dict[Tuple[int, int], tf.Tensor]:
    """Returns {(row, other): sum over locations of s_row^T s_other, [k_w C, k_w C]}, for row <= other of the kernel.

    s_row is what that row of the kernel sees. Two rows of the kernel with a distance of `lag` see image rows with the
    same distance, and all such pairs see the same pairs of image rows, only at different locations. So each image row
    is multiplied once with itself and with each row below it that the kernel reaches.

    Args:
      strips: from `_strips`.
    """
    height, width, n_rows = int(strips.shape[1]), int(strips.shape[3]), geometry.kernel[0]
    rows = tf.reshape(tf.transpose(strips, [1, 0, 2, 3]), [height, -1, width])
    by_distance = [tf.matmul(rows[:max(0, height - lag)], rows[lag:], transpose_a=True) for lag in range(n_rows)]
    products = {}
    for row in range(n_rows):
        for other in range(row, n_rows):
            seen = geometry.seen_rows(row, other, height)
            products[row, other] = tf.reduce_sum(by_distance[other - row][seen.start:seen.stop:seen.step], axis=0)
    return products


def _flat(images: tf.Tensor) -> tf.Tensor:
    """Merges particles and examples: [K, n, H, W, C] -> [K n, H, W, C]."""
    return tf.reshape(images, [-1] + [int(length) for length in images.shape[2:]])


def _count(images: tf.Tensor) -> tf.Tensor:
    """Returns the length of the first axis as a float."""
    return tf.cast(tf.shape(images)[0], images.dtype)
