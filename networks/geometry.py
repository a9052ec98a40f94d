"""Geometry of a convolution: its kernel, strides and padding, and which pixels each location sees."""
from typing import NamedTuple, Tuple

import tensorflow.compat.v1 as tf


class Geometry(NamedTuple):
    """Geometry of a 2D convolution. A location is a position of the kernel, counted from 0 in rows and columns.

    Axis 0 is that of rows, axis 1 that of columns. An offset is a row or column inside the kernel.
    """

    kernel: Tuple[int, int]  # (k_h, k_w)
    strides: Tuple[int, int]  # (rows, columns)
    padding: str  # SAME or VALID, as TensorFlow defines them

    def output(self, size: Tuple[int, int]) -> Tuple[int, int]:
        """Returns the number of locations (H', W') for inputs of size (H, W)."""
        if self.padding == "SAME":
            height, width = (-(-length // stride) for length, stride in zip(size, self.strides))
        else:
            height, width = ((length - k) // stride + 1
                             for length, k, stride in zip(size, self.kernel, self.strides))
        return height, width

    def padded(self, images: tf.Tensor) -> tf.Tensor:
        """Adds the zeros of the padding to images [N, H, W, C], and cuts off what the kernel never touches."""
        size = (int(images.shape[1]), int(images.shape[2]))
        reach = [(out - 1) * stride + k for out, stride, k in zip(self.output(size), self.strides, self.kernel)]
        missing = [max(0, r - length) for r, length in zip(reach, size)]
        images = tf.pad(images, [[0, 0]] + [[m // 2, m - m // 2] for m in missing] + [[0, 0]])
        return images[:, :reach[0], :reach[1]]

    def locations(self, offset: int, axis: int, size: int) -> Tuple[int, int]:
        """Returns the first and last location at which `offset` of the kernel lies inside the image.

        Args:
          size: length of the image along the axis.
        """
        stride, before = self.strides[axis], self.missing(axis, size) // 2
        first = max(0, -((offset - before) // stride))
        return first, min(self.output((size, size))[axis] - 1, (size - 1 + before - offset) // stride)

    def seen_rows(self, offset: int, other: int, size: int) -> range:
        """Returns the image rows that row `offset` of the kernel sees while its row `other` is inside the image too.

        Args:
          size: height of the image.
        """
        firsts, lasts = zip(self.locations(offset, 0, size), self.locations(other, 0, size))
        return self._seen(max(firsts), min(lasts), offset, 0, size)

    def first_seen(self, location: int, offset: int, axis: int, size: int) -> int:
        """Returns the pixel that `offset` of the kernel sees at a location; negative before the first pixel."""
        return location * self.strides[axis] - self.missing(axis, size) // 2 + offset

    def convolve(self, h: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """Returns s = a W at every location.

        Particles with their own inputs take one convolution each; inputs that all particles share take a single
        convolution with all kernels side by side.

        Args:
          h: [K or 1, n, H, W, C].
          weights: [K, k_h k_w C + 1, D], the bias in the last row.

        Returns:
          [K, n, H', W', D].
        """
        n_particles, channels, outputs = int(weights.shape[0]), int(h.shape[4]), int(weights.shape[2])
        kernels = tf.reshape(weights[:, :-1], [n_particles, *self.kernel, channels, outputs])
        bias = weights[:, None, None, None, -1]
        if int(h.shape[0]) == n_particles:
            images, own = (tf.unstack(t) if n_particles > 1 else [tf.squeeze(t, 0)] for t in (h, kernels))
            each = [self._convolve(image, kernel) for image, kernel in zip(images, own)]
            return (tf.stack(each) if n_particles > 1 else each[0][None]) + bias
        side_by_side = tf.reshape(tf.transpose(kernels, [1, 2, 3, 0, 4]), [*self.kernel, channels, -1])
        s = self._convolve(h[0], side_by_side)
        s = tf.reshape(s, [-1, int(s.shape[1]), int(s.shape[2]), n_particles, outputs])
        return tf.transpose(s, [3, 0, 1, 2, 4]) + bias

    def n_inside(self, size: Tuple[int, int]) -> int:
        """Returns how many pairs of a location and an offset of the kernel lie inside an image of size (H, W)."""
        counts = [sum(max(0, last - first + 1) for first, last in (
            self.locations(offset, axis, size[axis]) for offset in range(self.kernel[axis]))) for axis in (0, 1)]
        return counts[0] * counts[1]

    def times(self, h: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
        """Returns a^T matrix for the patch a at every location, as a convolution does, but for a large matrix.

        Every offset of the kernel takes one product with the pixels that it sees; the zeros of the padding, which are
        most of the patches of small images, take none.

        Args:
          h: [K, n, H, W, C].
          matrix: the same for all particles, [k_h k_w C + 1, D], its last row for the 1 at the end of a patch.

        Returns:
          [K, n, H', W', D].
        """
        size, (channels, outputs) = (int(h.shape[2]), int(h.shape[3])), (int(h.shape[4]), int(matrix.shape[1]))
        blocks = tf.reshape(matrix[:-1], [*self.kernel, channels, outputs])
        lengths, parts = self.output(size), []
        for row in range(self.kernel[0]):
            for column in range(self.kernel[1]):
                (top, bottom), (left, right) = self.locations(row, 0, size[0]), self.locations(column, 1, size[1])
                rows, columns = self._seen(top, bottom, row, 0, size[0]), self._seen(left, right, column, 1, size[1])
                if not rows or not columns:
                    continue
                seen = h[:, :, rows.start:rows.stop:rows.step, columns.start:columns.stop:columns.step]
                shape = tf.concat([tf.shape(h)[:2], [len(rows), len(columns), outputs]], axis=0)
                part = tf.reshape(tf.matmul(tf.reshape(seen, [-1, channels]), blocks[row, column]), shape)
                parts.append(tf.pad(part, [[0, 0], [0, 0], [top, lengths[0] - 1 - bottom],
                                           [left, lengths[1] - 1 - right], [0, 0]]))
        return tf.add_n(parts) + matrix[-1]

    def _seen(self, first: int, last: int, offset: int, axis: int, size: int) -> range:
        """Returns the pixels along an axis that `offset` of the kernel sees from location `first` to `last`."""
        start = self.first_seen(first, offset, axis, size)
        return range(start, start + max(0, last - first + 1) * self.strides[axis], self.strides[axis])

    def shifted(self, padded: tf.Tensor, row: int, column: int) -> tf.Tensor:
        """Returns what offset (row, column) of the kernel sees at each location, [N, H', W', C].

        Args:
          padded: images from `padded`.
        """
        last = [int(length) - k for length, k in zip(padded.shape[1:3], self.kernel)]
        return padded[:, row:row + last[0] + 1:self.strides[0], column:column + last[1] + 1:self.strides[1]]

    def _convolve(self, images: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Convolves [N, H, W, C] with [k_h, k_w, C, D]."""
        return tf.nn.conv2d(images, kernel, strides=[1, *self.strides, 1], padding=self.padding)

    def missing(self, axis: int, size: int) -> int:
        """Returns the number of zeros that the padding adds along an axis of length `size`."""
        if self.padding == "VALID":
            return 0
        return max(0, (self.output((size, size))[axis] - 1) * self.strides[axis] + self.kernel[axis] - size)
