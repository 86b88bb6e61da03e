/* bench_train.c - tokens a second and memory of training steps on the real model.
 *
 * Usage: bench_train [tokens] [rank] [threads] [exact] [max-ram-MB] [sample-tokens]
 * One step warms up, then steps are timed for about five seconds; the best step says most where
 * others use the machine. Random tokens, a third of them targets, in samples of 64 unless said:
 * long samples show attention's share.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "kernels/base/cpu.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "lora/train/trainer.h"

enum { SAMPLE = 64, MAX_TOKENS = 4096, MAX_SAMPLES = MAX_TOKENS / 2 };

static double now_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static size_t argument(int argc, char **argv, int i, size_t otherwise)
{
    return i < argc ? (size_t)strtoul(argv[i], NULL, 10) : otherwise;
}

static int die(const shoal_error *err)
{
    (void)fprintf(stderr, "error: %s\n", err->msg);
    if (err->hint[0] != '\0') {
        (void)fprintf(stderr, "hint: %s\n", err->hint);
    }
    return 1;
}

/* Cuts n random tokens into samples of `length`; returns their number. */
static size_t fill(shoal_sample *samples, size_t n, size_t length, size_t n_vocab)
{
    static int32_t ids[MAX_TOKENS];
    static uint8_t mask[MAX_TOKENS];
    shoal_rng rng = shoal_rng_init(1);
    for (size_t i = 0; i < n; i++) {
        ids[i] = (int32_t)shoal_rng_below(&rng, n_vocab);
        mask[i] = i % length == length - 1 || i % 3 == 0;
    }
    for (size_t i = 0; i < n / length; i++) {
        samples[i] = (shoal_sample){ids + i * length, mask + i * length, length};
    }
    return n / length;
}

static int measure(shoal_trainer *tr, const shoal_sample *samples, size_t n, shoal_error *err)
{
    shoal_loss loss = {0};
    double start = 0.0, best = 1e9;
    size_t steps = 0;
    while (steps == 0 || now_s() - start < 5.0) {
        double began = now_s();
        if (shoal_trainer_accumulate(tr, samples, n, 1e-3f, &loss, err) != SHOAL_OK ||
            shoal_trainer_step(tr, 1e-4f, NULL, err) != SHOAL_OK) {
            return die(err);
        }
        if (start == 0.0) {
            start = now_s();
        } else {
            double took = now_s() - began;
            best = took < best ? took : best;
            steps++;
        }
    }
    double elapsed = now_s() - start;
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    shoal_buf text = shoal_buf_init(4096);
    shoal_plan_print(shoal_trainer_plan(tr), &text);
    (void)printf("%s%.3f s a step (best %.3f), %.1f tokens/s, loss %.4f, peak resident %.1f MB\n",
                 shoal_buf_str(&text), elapsed / (double)steps, best,
                 (double)(steps * loss.n_tokens) / elapsed,
                 loss.nll_sum / (double)loss.n_supervised, (double)usage.ru_maxrss * 1024 / 1e6);
    shoal_buf_clear(&text);
    return 0;
}

int main(int argc, char **argv)
{
    static shoal_sample samples[MAX_SAMPLES];
    size_t tokens = argument(argc, argv, 1, 256);
    size_t length = argument(argc, argv, 6, SAMPLE);
    shoal_error err = {0};
    shoal_model *m = NULL;
    shoal_adapter *a = NULL;
    shoal_trainer *tr = NULL;
    shoal_pool *pool = NULL;
    shoal_exec ex = {0};
    const char *path = getenv("SHOAL_TEST_MODEL");
    shoal_lora_spec spec = {argument(argc, argv, 2, 8), 16.0f, SHOAL_TARGETS_ALL, 0, {0}};
    shoal_trainer_options opts = {.clip = 1.0f};
    opts.plan.max_tokens = tokens;
    opts.plan.max_ram = argument(argc, argv, 5, 0) << 20;

    if (path == NULL || length < 2 || tokens < length || tokens > MAX_TOKENS) {
        (void)fprintf(stderr,
                      "error: SHOAL_TEST_MODEL is not set, or not 2 <= sample-tokens <= "
                      "tokens <= %d\n",
                      MAX_TOKENS);
        return 2;
    }
    if (shoal_model_open_pages(&m, path,
                               opts.plan.max_ram == 0 ? SHOAL_PAGES_HUGE : SHOAL_PAGES_SMALL,
                               &err) != SHOAL_OK ||
        shoal_pool_open(&pool, (unsigned)argument(argc, argv, 3, 2), &err) != SHOAL_OK ||
        shoal_exec_open(&ex, pool, SHOAL_CPU_ALL, argument(argc, argv, 4, 0) != 0, &err) !=
            SHOAL_OK ||
        shoal_adapter_open(&a, m, &spec, 1, &err) != SHOAL_OK ||
        shoal_trainer_open(&tr, m, a, &ex, &opts, &err) != SHOAL_OK ||
        shoal_plan_bound_weights(shoal_trainer_plan(tr), m, &err) != SHOAL_OK) {
        return die(&err);
    }
    size_t n = fill(samples, tokens, length, m->cfg.n_vocab);
    (void)printf("kernels %s, %s\n", shoal_exec_name(&ex), ex.exact ? "exact" : "fast");
    int rc = measure(tr, samples, n, &err);
    shoal_trainer_close(tr);
    shoal_adapter_close(a);
    shoal_exec_close(&ex);
    shoal_pool_close(pool);
    shoal_model_close(m);
    return rc;
}
