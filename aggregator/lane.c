/* lane.c - a queue in front of the loop's worker threads. */
#include "aggregator/lane.h"

#include "kernels/base/mem.h"

typedef struct lane_job {
    struct lane_job *next;
    const void *owner;
    shoal_loop_fn *work, *done;
    void *ctx;
} lane_job;

struct shoal_lane {
    shoal_loop *loop;
    lane_job *running;
    bool in_done; /* no job starts while another's `done` is looking at what it left */
    lane_job *first;
    lane_job **last;
};

shoal_status shoal_lane_open(shoal_lane **out, shoal_loop *loop, shoal_error *err)
{
    *out = NULL;
    shoal_lane *lane = shoal_calloc(1, sizeof *lane);
    if (lane == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for the work queue");
    }
    lane->loop = loop;
    lane->last = &lane->first;
    *out = lane;
    return SHOAL_OK;
}

void shoal_lane_close(shoal_lane *lane)
{
    shoal_free(lane);
}

static void start_next(shoal_lane *lane);

static void run_job(void *ctx)
{
    const shoal_lane *lane = ctx;
    lane->running->work(lane->running->ctx);
}

static void end_job(shoal_lane *lane, lane_job *job)
{
    lane->running = NULL;
    lane->in_done = true;
    job->done(job->ctx);
    lane->in_done = false;
    shoal_free(job);
}

static void finish_job(void *ctx)
{
    shoal_lane *lane = ctx;
    lane_job *job = lane->running;
    end_job(lane, job);
    start_next(lane);
}

/* When no thread can be had the work is done here: late, but never lost. */
static void start_next(shoal_lane *lane)
{
    while (!lane->in_done && lane->running == NULL && lane->first != NULL) {
        lane_job *job = lane->first;
        lane->first = job->next;
        lane->last = lane->first == NULL ? &lane->first : lane->last;
        lane->running = job;
        if (shoal_loop_work(lane->loop, run_job, finish_job, lane, NULL) != SHOAL_OK) {
            job->work(job->ctx);
            end_job(lane, job);
        }
    }
}

shoal_status shoal_lane_push(shoal_lane *lane, const void *owner, shoal_loop_fn *work,
                             shoal_loop_fn *done, void *ctx, shoal_error *err)
{
    lane_job *job = shoal_calloc(1, sizeof *job);
    if (job == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory to queue work");
    }
    *job = (lane_job){.owner = owner, .work = work, .done = done, .ctx = ctx};
    *lane->last = job;
    lane->last = &job->next;
    start_next(lane);
    return SHOAL_OK;
}

bool shoal_lane_busy(const shoal_lane *lane, const void *owner)
{
    if (owner == NULL) {
        return lane->running != NULL || lane->first != NULL;
    }
    return lane->running != NULL && lane->running->owner == owner;
}
