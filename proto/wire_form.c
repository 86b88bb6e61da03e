/* wire_form.c - the tables of all control messages. */
#include "proto/wire_form.h"

#include "proto/wire.h"

_Static_assert(sizeof(shoal_task_state) == sizeof(uint32_t), "enums are stored as uint32_t");

#define U32(t, nr, f, lo, hi)                                                                \
    {                                                                                        \
        .number = nr, .kind = SHOAL_WIRE_U32, .offset = offsetof(t, f), .min = lo, .max = hi \
    }
#define U64(t, nr, f)                                                                     \
    {                                                                                     \
        .number = nr, .kind = SHOAL_WIRE_U64, .offset = offsetof(t, f), .max = UINT64_MAX \
    }
#define BOOL(t, nr, f)                                                            \
    {                                                                             \
        .number = nr, .kind = SHOAL_WIRE_BOOL, .offset = offsetof(t, f), .max = 1 \
    }
#define F32(t, nr, f)                                                  \
    {                                                                  \
        .number = nr, .kind = SHOAL_WIRE_F32, .offset = offsetof(t, f) \
    }
#define FIXED(t, nr, f)                                                   \
    {                                                                     \
        .number = nr, .kind = SHOAL_WIRE_FIXED, .offset = offsetof(t, f), \
        .min = sizeof(((t *)0)->f), .max = sizeof(((t *)0)->f)            \
    }
#define VAR(t, nr, f, count, lo)                                                  \
    {                                                                             \
        .number = nr, .kind = SHOAL_WIRE_VAR, .offset = offsetof(t, f),           \
        .count_offset = offsetof(t, count), .min = lo, .max = sizeof(((t *)0)->f) \
    }
#define DER(t, nr, f) VAR(t, nr, f.data, f.n, 1)
#define TEXT(t, nr, f)                                                   \
    {                                                                    \
        .number = nr, .kind = SHOAL_WIRE_TEXT, .offset = offsetof(t, f), \
        .max = sizeof(((t *)0)->f)                                       \
    }
#define MESSAGE(t, nr, f, form, opt)                                                         \
    {                                                                                        \
        .number = nr, .kind = SHOAL_WIRE_MESSAGE, .offset = offsetof(t, f), .optional = opt, \
        .sub = &form                                                                         \
    }
#define LIST(t, nr, f, count, cap, form)                                 \
    {                                                                    \
        .number = nr, .kind = SHOAL_WIRE_LIST, .offset = offsetof(t, f), \
        .count_offset = offsetof(t, count), .max = cap, .sub = &form     \
    }
#define FORM(name)                                                                           \
    const shoal_wire_form shoal_##name##_form = {#name, sizeof(shoal_##name), name##_fields, \
                                                 sizeof name##_fields / sizeof name##_fields[0]}

static const shoal_wire_field enrol_begin_fields[] = {FIXED(shoal_enrol_begin, 1, token_id)};
FORM(enrol_begin);

typedef shoal_enrol_challenge enrol_challenge;
static const shoal_wire_field enrol_challenge_fields[] = {
    FIXED(enrol_challenge, 1, nonce),
    U32(enrol_challenge, 2, attestation, SHOAL_ATTESTATION_NONE, SHOAL_ATTESTATION_ANDROID),
};
FORM(enrol_challenge);

typedef shoal_enrol_request enrol_request;
static const shoal_wire_field enrol_request_fields[] = {
    FIXED(enrol_request, 1, token),  FIXED(enrol_request, 2, nonce),
    DER(enrol_request, 3, csr),      VAR(enrol_request, 4, attestation, attestation_n, 0),
    TEXT(enrol_request, 5, version),
};
FORM(enrol_request);

typedef shoal_enrol_response enrol_response;
static const shoal_wire_field enrol_response_fields[] = {
    DER(enrol_response, 1, cert),          DER(enrol_response, 2, ca),
    FIXED(enrol_response, 3, task_spki),   TEXT(enrol_response, 4, deployment),
    U64(enrol_response, 5, server_time_s),
};
FORM(enrol_response);

static const shoal_wire_field renew_request_fields[] = {FIXED(shoal_renew_request, 1, proof),
                                                        DER(shoal_renew_request, 2, csr)};
FORM(renew_request);

static const shoal_wire_field renew_response_fields[] = {DER(shoal_renew_response, 1, cert),
                                                         DER(shoal_renew_response, 2, ca)};
FORM(renew_response);

static const shoal_wire_field ca_bundle_fields[] = {DER(shoal_ca_bundle, 1, ca)};
FORM(ca_bundle);

typedef shoal_adapter_release release;
static const shoal_wire_field adapter_release_fields[] = {
    FIXED(release, 1, task_id),
    FIXED(release, 4, sha256),
    U64(release, 2, version),
    U64(release, 3, round),
    U64(release, 5, size),
    FIXED(release, 6, base_sha256),
    FIXED(release, 7, previous_sha256),
    FIXED(release, 8, signature),
};
FORM(adapter_release);

typedef shoal_task_info info;
static const shoal_wire_field task_info_fields[] = {
    FIXED(info, 1, task_id),
    TEXT(info, 2, name),
    U32(info, 3, state, SHOAL_TASK_RUNNING, SHOAL_TASK_FINISHED),
    TEXT(info, 4, base_name),
    FIXED(info, 5, base_sha256),
    U64(info, 6, rounds_done),
    U64(info, 7, rounds_total),
    U32(info, 8, cohort_min, 0, SHOAL_LIMIT_COHORT_MAX),
    U32(info, 9, cohort_target, 0, SHOAL_LIMIT_COHORT_MAX),
    U32(info, 10, rank, 0, UINT16_MAX),
    F32(info, 11, alpha),
    U32(info, 12, targets, 0, UINT32_MAX),
    MESSAGE(info, 13, release, shoal_adapter_release_form, false),
};
static const shoal_wire_form task_info_form = {"task_info", sizeof(info), task_info_fields,
                                               sizeof task_info_fields /
                                                   sizeof task_info_fields[0]};

typedef shoal_task_list list;
static const shoal_wire_field task_list_fields[] = {
    LIST(list, 1, tasks, n, SHOAL_LIMIT_TASKS, task_info_form),
    U32(list, 2, n, 0, SHOAL_LIMIT_TASKS),
};
FORM(task_list);

typedef shoal_checkin_request checkin_request;
static const shoal_wire_field checkin_request_fields[] = {
    FIXED(checkin_request, 1, task_id),
    U64(checkin_request, 2, last_round),
    U64(checkin_request, 3, adapter_version),
    BOOL(checkin_request, 4, trained),
};
FORM(checkin_request);

typedef shoal_train_spec spec;
static const shoal_wire_field train_spec_fields[] = {
    U32(spec, 1, rank, 0, UINT16_MAX),
    F32(spec, 2, alpha),
    U32(spec, 3, targets, 0, UINT32_MAX),
    F32(spec, 4, lr),
    U32(spec, 5, local_epochs, 0, UINT16_MAX),
    U32(spec, 6, local_steps, 0, UINT32_MAX),
    U32(spec, 7, batch, 0, UINT16_MAX),
    U32(spec, 8, ctx, 0, UINT32_MAX),
    TEXT(spec, 9, base_name),
};
static const shoal_wire_form train_spec_form = {"train_spec", sizeof(spec), train_spec_fields,
                                                sizeof train_spec_fields /
                                                    sizeof train_spec_fields[0]};

typedef shoal_checkin_response response;
static const shoal_wire_field checkin_response_fields[] = {
    U32(response, 1, kind, SHOAL_CHECKIN_WAIT, SHOAL_CHECKIN_JOIN),
    MESSAGE(response, 2, train, train_spec_form, true),
    MESSAGE(response, 3, release, shoal_adapter_release_form, true),
    VAR(response, 4, descriptor, descriptor_n, 0),
    U32(response, 5, retry_after_ms, 0, SHOAL_LIMIT_RETRY_MS),
    TEXT(response, 6, reason),
};
FORM(checkin_response);

typedef shoal_round_result result;
static const shoal_wire_field round_result_fields[] = {
    FIXED(result, 1, session_id),
    U64(result, 2, round),
    U32(result, 3, cohort, 0, SHOAL_LIMIT_COHORT_MAX),
    U32(result, 4, survivors, 0, SHOAL_LIMIT_COHORT_MAX),
    U64(result, 5, weight_sum),
    FIXED(result, 6, roster_hash),
    MESSAGE(result, 7, release, shoal_adapter_release_form, false),
};
FORM(round_result);

typedef shoal_error_reply reply;
static const shoal_wire_field error_reply_fields[] = {
    U32(reply, 1, code, SHOAL_CODE_BAD_REQUEST, SHOAL_CODE_TAMPERED),
    TEXT(reply, 2, message),
    TEXT(reply, 3, hint),
    U32(reply, 4, retry_after_ms, 0, SHOAL_LIMIT_RETRY_MS),
};
FORM(error_reply);
