/* The fault lab: mistakes that RLHF code is known for, each switched on by its name.
 *
 * A fault acts at the seams between the parts of a step: it changes what one part hands to the
 * next, never what a part computes. The sound program has no fault, and a seam is one line of
 * FAULT(...). No check knows that there are faults. */
#ifndef PPO_FAULTS_H
#define PPO_FAULTS_H

#include "data/rollout.h"
#include "policy/blocks.h"
#include "policy/generate.h"
#include "ppo/ppo_config.h"
#include "ppo/ppo_loss.h"

struct PpoRun;

typedef struct Fault {
    const char *name;
    const char *stage; /* where it acts: sft, reward or ppo */
    const char *what;  /* the mistake */
    const char *bit;   /* where it bit in public */
    const char *sign;  /* what in the curves gives it away */
    const char *needs; /* settings without which it changes nothing; NULL: none */
    bool (*acts)(const PpoConfig *config); /* whether they are given; NULL: always */

    /* The seams, in the order of a run; NULL: sound there. */
    void (*labels)(Sequences *labels);   /* what the loss of SFT reads */
    void (*answers)(Sequences *answers); /* of the pairs that the reward model trains on */
    void (*requests)(GenerateRequest *request, int count); /* before answers are drawn */
    void (*settings)(PpoConfig *config);                   /* as scoring and update read them */
    void (*scored)(Rollout *rollout);                      /* by the networks */
    void (*rewards)(Rollout *rollout);                     /* before advantages */
    void (*advantages)(Rollout *rollout, const PpoConfig *config); /* before file and update */
    void (*metrics)(double *value, const Rollout *rollout);        /* before the journal */
    /* Advantages as the policy loss takes them, before the minibatch of blocks index[0..count). */
    void (*minibatch)(float *advantage, const Rollout *rollout, const BlockPlan *plan,
                      const int *index, int count);
    PolicyTerm (*policy_term)(double logp, double old_logp, double advantage, double clip_range);
    ValueTerm (*value_term)(double value, double old_value, double returns, double clip_range);
    void (*updated)(struct PpoRun *run); /* after the update */
    /* The KL that the controller of the coefficient sees. */
    Status (*controller)(double *kl, const struct PpoRun *run);
} Fault;

#define FAULT(fault, seam, ...)                                                                    \
    do {                                                                                           \
        if ((fault) != NULL && (fault)->seam != NULL) (fault)->seam(__VA_ARGS__);                  \
    } while (0)

extern const Fault faults[];
extern const int fault_count;

/* What `text` names: "" none (NULL), a fault, or hidden:SEED, one of those of ppo that act under
 * `config`, by chance. Unknown, or one that would change nothing: STATUS_SETTINGS. */
Status fault_find(const Fault **fault, const char *text, const PpoConfig *config);
bool fault_is_hidden(const char *text);

#endif
