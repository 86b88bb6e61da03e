# Kernels: every slot at every level this machine has, against references in double.
