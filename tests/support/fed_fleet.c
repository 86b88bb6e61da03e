/* fed_fleet.c - see fed_fleet.h. */
#include "tests/support/fed_fleet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "aggregator/blob.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "lora/train/adapter.h"

void fed_fleet_open(fed_fleet *f, const fed_task *t)
{
    fed_server_open(&f->server, t);
    for (size_t i = 0; i < FED_FLEET; i++) {
        char link[SHOAL_LIMIT_LINK];
        fed_server_invite(&f->server, link);
        fed_device_open(&f->devices[i], link);
        assert_int_equal(fed_device_join(&f->devices[i], link), 200);
        shoal_rng rng = shoal_rng_init(100 + i);
        f->updates[i] = shoal_calloc(f->server.task.codec.dim, sizeof(float));
        for (size_t k = 0; k < f->server.task.codec.dim; k++) {
            f->updates[i][k] = (float)(shoal_rng_double(&rng) - 0.5) * 0.1F;
        }
    }
}

void fed_fleet_close(fed_fleet *f)
{
    for (size_t i = 0; i < FED_FLEET; i++) {
        fed_device_close(&f->devices[i]);
        shoal_free(f->updates[i]);
    }
    fed_server_close(&f->server);
}

void fed_fleet_round(fed_fleet *f, const fed_last last[FED_FLEET])
{
    pthread_t thread[FED_FLEET];
    for (size_t i = 0; i < FED_FLEET; i++) {
        f->parts[i] = (fed_part){.device = &f->devices[i],
                                 .update = f->updates[i],
                                 .weight = (uint32_t)(10 + 7 * i),
                                 .seed = {(uint8_t)(i + 1)},
                                 .last = last[i],
                                 .n_min = 3,
                                 .upload = f->upload[i],
                                 .ctx = f->ctx};
        assert_int_equal(pthread_create(&thread[i], NULL, fed_take_part, &f->parts[i]), 0);
    }
    for (size_t i = 0; i < FED_FLEET; i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    }
}

shoal_db_task fed_fleet_task(fed_fleet *f)
{
    shoal_db_task t;
    shoal_error err = {0};
    assert_int_equal(shoal_db_task_by_name(f->server.d.db, "test", &t, &err), SHOAL_OK);
    return t;
}

shoal_db_round fed_fleet_last(fed_fleet *f)
{
    shoal_db_task t = fed_fleet_task(f);
    shoal_db_round r;
    shoal_error err = {0};
    assert_int_equal(shoal_db_round_get(f->server.d.db, t.id, t.last_round, &r, &err), SHOAL_OK);
    return r;
}

/* The adapter of a version, decoded; checks signature and hash on the way. */
static shoal_adapter *version(fed_fleet *f, uint64_t v)
{
    shoal_error err = {0};
    shoal_db_release r;
    shoal_model *m;
    shoal_adapter *a;
    shoal_buf file = shoal_buf_init(0);
    assert_int_equal(shoal_db_release_get(f->server.d.db, f->server.task.id, v, &r, &err),
                     SHOAL_OK);
    assert_int_equal(shoal_release_verify(&r.r, f->devices[0].who.task_spki, &err), SHOAL_OK);
    assert_int_equal(shoal_blob_get(f->server.deployment_dir, r.r.sha256, &file, &err), SHOAL_OK);
    assert_int_equal(shoal_model_open(&m, f->server.model, &err), SHOAL_OK);
    assert_int_equal(shoal_adapter_decode(&a, m, file.data, file.len, &err), SHOAL_OK);
    shoal_buf_clear(&file);
    shoal_model_close(m);
    return a;
}

void fed_fleet_check(fed_fleet *f, uint64_t v, const fed_last last[FED_FLEET])
{
    shoal_error err = {0};
    shoal_exec ex = {0};
    const shoal_codec *c = &f->server.task.codec;
    uint8_t signs[32] = {0};
    size_t words = shoal_codec_words(c);
    uint32_t *sum = shoal_calloc(words, sizeof *sum), *one = shoal_calloc(words, sizeof *one);
    float *mean = shoal_calloc(c->dim, sizeof *mean);
    uint64_t weights = 0;
    assert_int_equal(shoal_exec_open(&ex, NULL, 0x7fffffff, false, &err), SHOAL_OK);
    for (size_t i = 0; i < FED_FLEET; i++) {
        if (last[i] < FED_UPLOADS) {
            continue;
        }
        memcpy(signs, f->parts[i].signs, sizeof signs);
        shoal_codec_keys keys = {.rounding = f->parts[i].seed, .rotation = signs};
        assert_int_equal(
            shoal_codec_encode(&ex, c, f->updates[i], f->parts[i].weight, &keys, one, NULL, &err),
            SHOAL_OK);
        for (size_t k = 0; k < words; k++) {
            sum[k] += one[k];
        }
    }
    assert_int_equal(shoal_codec_decode(&ex, c, signs, sum, mean, &weights, &err), SHOAL_OK);
    shoal_adapter *before = version(f, v - 1), *after = version(f, v);
    assert_int_equal(after->n_params, c->dim);
    for (size_t k = 0; k < c->dim; k++) {
        float want = before->params[k] + mean[k];
        assert_memory_equal(&after->params[k], &want, sizeof want);
    }
    assert_int_equal(fed_fleet_last(f).weight_sum, weights);
    shoal_adapter_close(before);
    shoal_adapter_close(after);
    shoal_exec_close(&ex);
    shoal_free(sum);
    shoal_free(one);
    shoal_free(mean);
}
