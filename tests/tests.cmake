# One line a test program, floor by floor.
rlhf_test(ground data)
