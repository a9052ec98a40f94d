"""Our posteriors and networks in ZhuSuan, so that its samplers and objectives run on them. Read in this order:

library        ZhuSuan itself, an optional package
distributions  posteriors as distributions of ZhuSuan
models         networks as models of ZhuSuan, and posteriors as variational families and starts of chains

Importing one of these modules without ZhuSuan raises UserError.
"""

INSTALL = "pip install git+https://github.com/thu-ml/zhusuan"
"""Command that installs ZhuSuan, which is on no package index."""
