"""What a reader holds beside the papers: posteriors, curvature and the noisy natural-gradient step. Pure functions of tensors."""
