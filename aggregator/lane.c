/* lane.c - a queue in front of the loop's worker threads. */
#include "aggregator/lane.h"

#include "kernels/base/mem.h"

typedef struct lane_job {
    struct lane_job *next;
    const void *owner;
    shoal_loop_fn *work, *done;
    void *ctx;
} lane_job;

typedef struct lane_queue {
    lane_job *first;
    lane_job **last;
} lane_queue;

struct shoal_lane {
    shoal_loop *loop;
    lane_job *running;
    bool in_done; /* no job starts while another's `done` is looking at what it left */
    lane_queue control, bulk;
    unsigned passed; /* control jobs that went before waiting bulk */
};

shoal_status shoal_lane_open(shoal_lane **out, shoal_loop *loop, shoal_error *err)
{
    *out = NULL;
    shoal_lane *lane = shoal_calloc(1, sizeof *lane);
    if (lane == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory for the work queue");
    }
    lane->loop = loop;
    lane->control.last = &lane->control.first;
    lane->bulk.last = &lane->bulk.first;
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

/* Control first; bulk that waits has its turn after SHOAL_LANE_TURNS of them. NULL: nothing waits.
 */
static lane_job *take_next(shoal_lane *lane)
{
    bool turn = lane->bulk.first != NULL &&
                (lane->control.first == NULL || lane->passed >= SHOAL_LANE_TURNS);
    lane_queue *q = turn ? &lane->bulk : &lane->control;
    lane_job *job = q->first;
    lane->passed = turn || lane->bulk.first == NULL ? 0 : lane->passed + 1;
    if (job != NULL) {
        q->first = job->next;
        q->last = q->first == NULL ? &q->first : q->last;
    }
    return job;
}

/* When no thread can be had the work is done here: late, but never lost. */
static void start_next(shoal_lane *lane)
{
    lane_job *job;
    while (!lane->in_done && lane->running == NULL && (job = take_next(lane)) != NULL) {
        lane->running = job;
        if (shoal_loop_work(lane->loop, run_job, finish_job, lane, NULL) != SHOAL_OK) {
            job->work(job->ctx);
            end_job(lane, job);
        }
    }
}

static shoal_status push(shoal_lane *lane, lane_queue *q, const lane_job *what, shoal_error *err)
{
    lane_job *job = shoal_calloc(1, sizeof *job);
    if (job == NULL) {
        return shoal_fail(err, SHOAL_ERR_NOMEM, "no memory to queue work");
    }
    *job = *what;
    *q->last = job;
    q->last = &job->next;
    start_next(lane);
    return SHOAL_OK;
}

shoal_status shoal_lane_push(shoal_lane *lane, const void *owner, shoal_loop_fn *work,
                             shoal_loop_fn *done, void *ctx, shoal_error *err)
{
    lane_job job = {.owner = owner, .work = work, .done = done, .ctx = ctx};
    return push(lane, &lane->control, &job, err);
}

shoal_status shoal_lane_push_bulk(shoal_lane *lane, const void *owner, shoal_loop_fn *work,
                                  shoal_loop_fn *done, void *ctx, shoal_error *err)
{
    lane_job job = {.owner = owner, .work = work, .done = done, .ctx = ctx};
    return push(lane, &lane->bulk, &job, err);
}

bool shoal_lane_busy(const shoal_lane *lane, const void *owner)
{
    if (owner == NULL) {
        return lane->running != NULL || lane->control.first != NULL || lane->bulk.first != NULL;
    }
    return lane->running != NULL && lane->running->owner == owner;
}
