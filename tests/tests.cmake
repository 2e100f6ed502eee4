# One line a test program, floor by floor.
rlhf_test(ground data)
rlhf_test(kl ppo)
rlhf_test(advantage ppo)
rlhf_test(ppo_loss ppo)
rlhf_test(bradley_terry reward)
rlhf_test(calibration reward)
rlhf_test(best_of_n ppo)
