/* SPDX-License-Identifier: MIT */
/* What is wrong with a state pool, with slots, snapshots and accepted. */
#include "arguments.h"

/* Indices that a mutation sets by name: args->slots_in.host = (const int32_t[]){..}, static. */
#define HOST(field, ...) \
    { \
        static const int32_t values[] = {__VA_ARGS__}; \
        args->field.host = values; \
    }

/* Words 3 .. of the call's index buffer are 0, 1, .. 7, 0, ..: valid slots, no two alike. */
static void in_buffer(const struct call *call, struct dj_indices *indices)
{
    *indices = (struct dj_indices){.buffer = call->indices, .offset = 4 * 3};
}

#define OUT_IN_BUFFER in_buffer(call, &args->slots_out);

/* The pool */

CALL_MUTATION(pool_foreign, args->state = call->foreign; args->slot_count = 4;)
CALL_MUTATION(pool_misaligned, args->state_offset = call->needs.slot_alignment / 2;
              args->slot_count = 7;)
CALL_MUTATION(pool_short, args->slot_count = CALL_SLOTS + 1;)
CALL_MUTATION(pool_huge, args->slot_count = UINT32_MAX;)
CALL_MUTATION(pool_shifted, args->state_offset = call->needs.slot_alignment;)
CALL_MUTATION(pool_beyond, args->state_offset = call->needs.slot_alignment << 30;)
CALL_MUTATION(pool_overflows, args->state_offset = UINT64_MAX - call->needs.slot_alignment + 1;)
CALL_MUTATION(pool_is_o, args->o.buffer = args->state;)
CALL_MUTATION(pool_is_q, args->q.buffer = args->state;)
CALL_MUTATION(pool_is_scratch, args->scratch.buffer = args->state;
              args->scratch.size = dj_buffer_size(args->state);)
CALL_MUTATION(pool_of_seven, args->state_offset = call->needs.slot_alignment;
              args->slot_count = CALL_SLOTS - 1;)
CALL_MUTATION(pool_unused, args->slots_out.host = NULL;)

/* Slots of the host */

CALL_MUTATION(out_beyond, HOST(slots_out, 0, CALL_SLOTS))
CALL_MUTATION(out_far_beyond, HOST(slots_out, INT32_MAX, 0))
CALL_MUTATION(out_below, HOST(slots_out, 1, -2))
CALL_MUTATION(out_least, HOST(slots_out, INT32_MIN, -1))
CALL_MUTATION(out_twice, HOST(slots_out, 5, 5))
CALL_MUTATION(in_beyond, HOST(slots_in, CALL_SLOTS, 0))
CALL_MUTATION(in_below, HOST(slots_in, 0, -2))
CALL_MUTATION(in_is_others_out, HOST(slots_in, 3, -1))
CALL_MUTATION(in_exchanged, HOST(slots_in, 3, 0))
CALL_MUTATION(in_is_own_out, HOST(slots_in, 0, 3))
CALL_MUTATION(in_shared, HOST(slots_in, 1, 1))
CALL_MUTATION(out_none, HOST(slots_out, -1, -1))
CALL_MUTATION(no_pool_slots, args->slot_count = 0;)
CALL_MUTATION(no_pool_none, args->slot_count = 0; HOST(slots_out, -1, -1))

CALL_MUTATION(no_state_out, args->state = NULL;)
CALL_MUTATION(no_state_in, args->state = NULL; args->slots_out.host = NULL; HOST(slots_in, 1, 2))

/* Snapshots */

CALL_MUTATION(snapshots_65, args->snapshots = 65;)
CALL_MUTATION(snapshots_huge, args->snapshots = UINT32_MAX;)
CALL_MUTATION(snapshots_1, args->snapshots = 1;)
CALL_MUTATION(snapshots_2, args->snapshots = 2; HOST(slots_out, 0, 1, 2, 3))
CALL_MUTATION(snapshots_some, args->snapshots = 2; HOST(slots_out, 0, -1, -1, -1))
CALL_MUTATION(snapshots_beyond, args->snapshots = 2; HOST(slots_out, 0, 1, 2, CALL_SLOTS))
CALL_MUTATION(snapshots_below, args->snapshots = 2; HOST(slots_out, 0, -2, 2, 3))
CALL_MUTATION(snapshots_twice, args->snapshots = 2; HOST(slots_out, 4, 4, 2, 3))
CALL_MUTATION(snapshots_twice_apart, args->snapshots = 2; HOST(slots_out, 0, 1, 2, 0))
CALL_MUTATION(snapshots_own_in, args->snapshots = 2;
              HOST(slots_out, 0, 1, 2, 3) HOST(slots_in, 1, -1))
CALL_MUTATION(snapshots_others_in, args->snapshots = 2;
              HOST(slots_out, 0, 1, 2, 3) HOST(slots_in, -1, 1))
CALL_MUTATION(snapshots_in_apart, args->snapshots = 2;
              HOST(slots_out, 0, 1, 2, 3) HOST(slots_in, 4, 5))
CALL_MUTATION(snapshots_64, args->snapshots = 64; static int32_t none[2 * 64];
              for (int i = 0; i < 2 * 64; i++) none[i] = i < 4 ? i : -1;
              args->slots_out.host = none;)

/* accepted */

#define ACCEPTED(...) \
    args->snapshots = 2; \
    HOST(slots_in, 0, 1, 2, 3) \
    HOST(slots_out, 4, 5, 6, 7) \
    HOST(accepted, __VA_ARGS__)

CALL_MUTATION(accepted_first, ACCEPTED(0, 1))
CALL_MUTATION(accepted_none, ACCEPTED(-1, 2))
CALL_MUTATION(accepted_any, ACCEPTED(INT32_MIN, INT32_MAX))
CALL_MUTATION(accepted_alone, ACCEPTED(0, 1) args->slots_in.host = NULL;)
CALL_MUTATION(accepted_in_beyond, ACCEPTED(0, 1) HOST(slots_in, 0, 1, 2, CALL_SLOTS))
CALL_MUTATION(accepted_in_below, ACCEPTED(0, 1) HOST(slots_in, -5, 1, 2, 3))
CALL_MUTATION(accepted_is_others_out, ACCEPTED(0, 1) HOST(slots_out, 4, 5, 0, 7))
CALL_MUTATION(accepted_is_own_out, ACCEPTED(0, 1) HOST(slots_out, 0, 5, 6, 7))

/* Indices in buffers */

CALL_MUTATION(buffer_out, OUT_IN_BUFFER)
CALL_MUTATION(buffer_all, ACCEPTED(0, 1) OUT_IN_BUFFER in_buffer(call, &args->slots_in);
              in_buffer(call, &args->accepted);)
CALL_MUTATION(buffer_and_host_out, args->slots_out.buffer = call->indices;)
CALL_MUTATION(buffer_and_host_in, HOST(slots_in, 1, 2) args->slots_in.buffer = call->indices;)
CALL_MUTATION(buffer_and_host_accepted, ACCEPTED(0, 1) args->accepted.buffer = call->indices;)
CALL_MUTATION(buffer_odd_out, OUT_IN_BUFFER args->slots_out.offset = 2;)
CALL_MUTATION(buffer_odd_in, in_buffer(call, &args->slots_in); args->slots_in.offset = 1;)
CALL_MUTATION(buffer_odd_accepted, ACCEPTED(0, 1) args->accepted.host = NULL;
              in_buffer(call, &args->accepted); args->accepted.offset = 3;)
CALL_MUTATION(buffer_short_out, OUT_IN_BUFFER args->slots_out.offset = 4 * 63;)
CALL_MUTATION(buffer_short_in, in_buffer(call, &args->slots_in); args->slots_in.offset = 4 * 63;)
CALL_MUTATION(buffer_short_snapshots, OUT_IN_BUFFER args->snapshots = 2;
              args->slots_out.offset = 4 * 61;)
CALL_MUTATION(buffer_fits_snapshots, OUT_IN_BUFFER args->snapshots = 2;
              args->slots_out.offset = 4 * 60;)
CALL_MUTATION(buffer_short_accepted, ACCEPTED(0, 1) args->accepted.host = NULL;
              in_buffer(call, &args->accepted); args->accepted.offset = 4 * 63;)
CALL_MUTATION(buffer_short_accepted_in, ACCEPTED(0, 1) args->slots_in.host = NULL;
              in_buffer(call, &args->slots_in); args->slots_in.offset = 4 * 61;)
CALL_MUTATION(buffer_beyond_out, OUT_IN_BUFFER args->slots_out.offset = 1 << 20;)
CALL_MUTATION(buffer_overflows_in, in_buffer(call, &args->slots_in);
              args->slots_in.offset = UINT64_MAX - 3;)
CALL_MUTATION(buffer_foreign_out, OUT_IN_BUFFER args->slots_out.buffer = call->foreign;)
CALL_MUTATION(buffer_foreign_in, in_buffer(call, &args->slots_in);
              args->slots_in.buffer = call->foreign;)
CALL_MUTATION(buffer_foreign_accepted, ACCEPTED(0, 1) args->accepted.host = NULL;
              in_buffer(call, &args->accepted); args->accepted.buffer = call->foreign;)
CALL_MUTATION(reserved_out, args->slots_out.reserved[0] = 1;)
CALL_MUTATION(reserved_in, HOST(slots_in, 1, 2) args->slots_in.reserved[1] = 1;)
CALL_MUTATION(reserved_accepted, ACCEPTED(0, 1) args->accepted.reserved[0] = 1;)

#define INVALID DJ_ERROR_INVALID_ARGUMENT

static const struct mutation slot_mutations[] = {
    {"a pool of another context", "state|context", INVALID, NEEDS_AGREES, pool_foreign},
    {"a misaligned pool", "state_offset", INVALID, NEEDS_AGREES, pool_misaligned},
    {"a slot too many", "slots|slot_count", INVALID, NEEDS_AGREES, pool_short},
    {"2^32 - 1 slots", "slots|slot_count", INVALID, NEEDS_AGREES, pool_huge},
    {"a pool that ends too late", "slots|slot_count", INVALID, NEEDS_AGREES, pool_shifted},
    {"a pool beyond its buffer", "slots|slot_count", INVALID, NEEDS_AGREES, pool_beyond},
    {"a pool whose end overflows", "slots|slot_count", INVALID, NEEDS_AGREES, pool_overflows},
    {"o in the pool", "state", INVALID, NEEDS_AGREES, pool_is_o},
    {"q in the pool", "state", INVALID, NEEDS_AGREES, pool_is_q},
    {"scratch memory in the pool", "scratch", INVALID, NEEDS_BLIND, pool_is_scratch},
    {"a pool behind an offset", "", DJ_SUCCESS, NEEDS_AGREES, pool_of_seven},
    {"a pool that is not used", "", DJ_SUCCESS, NEEDS_AGREES, pool_unused},

    {"an output beyond the pool", "slots_out", INVALID, NEEDS_BLIND, out_beyond},
    {"output 2^31 - 1", "slots_out", INVALID, NEEDS_BLIND, out_far_beyond},
    {"output -2", "slots_out", INVALID, NEEDS_BLIND, out_below},
    {"output -2^31", "slots_out", INVALID, NEEDS_BLIND, out_least},
    {"one output for two", "slots_out", INVALID, NEEDS_BLIND, out_twice},
    {"an input beyond the pool", "slots_in", INVALID, NEEDS_BLIND, in_beyond},
    {"input -2", "slots_in", INVALID, NEEDS_BLIND, in_below},
    {"another's output as input", "slots_in|slots_out", INVALID, NEEDS_BLIND, in_is_others_out},
    {"exchanged slots", "slots_in|slots_out", INVALID, NEEDS_BLIND, in_exchanged},
    {"slots in place", "", DJ_SUCCESS, NEEDS_AGREES, in_is_own_out},
    {"one input for two", "", DJ_SUCCESS, NEEDS_AGREES, in_shared},
    {"no outputs", "", DJ_SUCCESS, NEEDS_AGREES, out_none},
    {"outputs in a pool of none", "slots", INVALID, NEEDS_BLIND, no_pool_slots},
    {"no outputs in a pool of none", "", DJ_SUCCESS, NEEDS_AGREES, no_pool_none},

    {"outputs without a pool", "state", INVALID, NEEDS_ANY, no_state_out},
    {"inputs without a pool", "state", INVALID, NEEDS_ANY, no_state_in},

    {"65 snapshots", "snapshots", INVALID, NEEDS_AGREES, snapshots_65},
    {"2^32 - 1 snapshots", "snapshots", INVALID, NEEDS_AGREES, snapshots_huge},
    {"1 snapshot", "", DJ_SUCCESS, NEEDS_AGREES, snapshots_1},
    {"2 snapshots", "", DJ_SUCCESS, NEEDS_AGREES, snapshots_2},
    {"some of 2 snapshots", "", DJ_SUCCESS, NEEDS_AGREES, snapshots_some},
    {"a snapshot beyond the pool", "slots_out", INVALID, NEEDS_BLIND, snapshots_beyond},
    {"snapshot -2", "slots_out", INVALID, NEEDS_BLIND, snapshots_below},
    {"one slot for two snapshots", "slots_out", INVALID, NEEDS_BLIND, snapshots_twice},
    {"one slot for two sequences' snapshots", "slots_out", INVALID, NEEDS_BLIND,
     snapshots_twice_apart},
    {"a snapshot in its sequence's input", "slots_in|slots_out", INVALID, NEEDS_BLIND,
     snapshots_own_in},
    {"a snapshot in another's input", "slots_in|slots_out", INVALID, NEEDS_BLIND,
     snapshots_others_in},
    {"snapshots apart from inputs", "", DJ_SUCCESS, NEEDS_AGREES, snapshots_in_apart},
    {"64 snapshots", "", DJ_SUCCESS, NEEDS_AGREES, snapshots_64},

    {"accepted", "", DJ_SUCCESS, NEEDS_AGREES, accepted_first},
    {"nothing accepted", "", DJ_SUCCESS, NEEDS_AGREES, accepted_none},
    {"any number accepted", "", DJ_SUCCESS, NEEDS_AGREES, accepted_any},
    {"accepted without inputs", "accepted", INVALID, NEEDS_ANY, accepted_alone},
    {"an input of several beyond the pool", "slots_in", INVALID, NEEDS_BLIND, accepted_in_beyond},
    {"input -5 of several", "slots_in", INVALID, NEEDS_BLIND, accepted_in_below},
    {"another's accepted input as output", "slots_in|slots_out", INVALID, NEEDS_BLIND,
     accepted_is_others_out},
    {"the accepted input as output of two", "slots_in|slots_out", INVALID, NEEDS_BLIND,
     accepted_is_own_out},

    {"outputs in a buffer", "", DJ_SUCCESS, NEEDS_AGREES, buffer_out},
    {"outputs in a buffer and on the host", "slots_out", INVALID, NEEDS_ANY, buffer_and_host_out},
    {"inputs in a buffer and on the host", "slots_in", INVALID, NEEDS_ANY, buffer_and_host_in},
    {"accepted in a buffer and on the host", "accepted", INVALID, NEEDS_ANY,
     buffer_and_host_accepted},
    {"outputs, inputs and accepted in a buffer", "", DJ_SUCCESS, NEEDS_AGREES, buffer_all},
    {"outputs at byte 2", "slots_out", INVALID, NEEDS_ANY, buffer_odd_out},
    {"inputs at byte 1", "slots_in", INVALID, NEEDS_ANY, buffer_odd_in},
    {"accepted at byte 3", "accepted", INVALID, NEEDS_ANY, buffer_odd_accepted},
    {"too short a buffer of outputs", "slots_out", INVALID, NEEDS_ANY, buffer_short_out},
    {"too short a buffer of inputs", "slots_in", INVALID, NEEDS_ANY, buffer_short_in},
    {"too short a buffer of snapshots", "slots_out", INVALID, NEEDS_ANY, buffer_short_snapshots},
    {"a buffer of snapshots", "", DJ_SUCCESS, NEEDS_AGREES, buffer_fits_snapshots},
    {"too short a buffer of accepted", "accepted", INVALID, NEEDS_ANY, buffer_short_accepted},
    {"too short a buffer of several inputs", "slots_in", INVALID, NEEDS_ANY,
     buffer_short_accepted_in},
    {"outputs beyond their buffer", "slots_out", INVALID, NEEDS_ANY, buffer_beyond_out},
    {"inputs whose offset overflows", "slots_in", INVALID, NEEDS_ANY, buffer_overflows_in},
    {"outputs of another context", "slots_out", INVALID, NEEDS_ANY, buffer_foreign_out},
    {"inputs of another context", "slots_in", INVALID, NEEDS_ANY, buffer_foreign_in},
    {"accepted of another context", "accepted", INVALID, NEEDS_ANY, buffer_foreign_accepted},
    {"reserved of outputs", "reserved", DJ_ERROR_VERSION, NEEDS_ANY, reserved_out},
    {"reserved of inputs", "reserved", DJ_ERROR_VERSION, NEEDS_ANY, reserved_in},
    {"reserved of accepted", "reserved", DJ_ERROR_VERSION, NEEDS_ANY, reserved_accepted},
};

static void slots_are_checked(void **state)
{
    (void)state;
    CALL_TRY_ALL(harness_context(0), BASE_CAUSAL, slot_mutations);
}

/* Softmax and Linformer */

static void give_pool(const struct call *call, struct dj_attention_args *args)
{
    args->state = call->inputs[0];
    args->slot_count = 1;
}

CALL_MUTATION(stateless_out, give_pool(call, args); HOST(slots_out, 0, -1))
CALL_MUTATION(stateless_in, give_pool(call, args); HOST(slots_in, 0, -1))
CALL_MUTATION(stateless_none, give_pool(call, args); HOST(slots_out, -1, -1))
CALL_MUTATION(stateless_snapshots, give_pool(call, args); args->snapshots = 2;
              HOST(slots_out, 0, -1, -1, -1))
CALL_MUTATION(stateless_buffer, give_pool(call, args); OUT_IN_BUFFER)

static const struct mutation stateless_mutations[] = {
    {"a slot out", "state|slots", DJ_ERROR_STATELESS, NEEDS_ANY, stateless_out},
    {"a slot in", "state|slots", DJ_ERROR_STATELESS, NEEDS_ANY, stateless_in},
    {"slots that are none", "state|slots", DJ_ERROR_STATELESS, NEEDS_ANY, stateless_none},
    {"snapshots", "state|slots", DJ_ERROR_STATELESS, NEEDS_ANY, stateless_snapshots},
    {"slots in a buffer", "state|slots", DJ_ERROR_STATELESS, NEEDS_ANY, stateless_buffer},
};

static void maps_without_state_are_checked(void **state)
{
    (void)state;
    CALL_TRY_ALL(harness_context(0), BASE_SOFTMAX, stateless_mutations);
    CALL_TRY_ALL(harness_context(0), BASE_LINFORMER, stateless_mutations);
}

/* Slots in a buffer need a pool that one binding reaches, or device addresses; slots of the host
 * need neither. */
static void device_slots_need_a_pool_in_reach(void **state)
{
    (void)state;
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(harness_context(0), &info));
    struct call call;
    call_init(&call, harness_context(0), BASE_CAUSAL);
    const uint64_t slots = info.max_storage_range / call.needs.slot_size + 2;
    const uint64_t size = slots * call.needs.slot_size;
    if (size > info.max_allocation || size > UINT64_C(1) << 30) {
        print_message("# a binding reaches %llu bytes: too much to exceed\n",
                      (unsigned long long)info.max_storage_range);
        call_finish(&call);
        return;
    }
    dj_buffer *pool = harness_buffer(harness_context(0), NULL, size);
    struct dj_attention_args args = call.args;
    struct dj_needs needs;
    args.state = pool;
    args.slot_count = (uint32_t)slots;
    HARNESS_OK(dj_attention_needs(call.plan, &args, &needs));
    in_buffer(&call, &args.slots_out);
    const bool addresses = dj_context_uses(harness_context(0)) & DJ_USE_DEVICE_ADDRESSES;
    HARNESS_RESULT(dj_attention_run(call.plan, &args), addresses ? DJ_SUCCESS : DJ_ERROR_LIMIT);
    args.slot_count -= 3; /* as many as can be bound */
    HARNESS_OK(dj_attention_needs(call.plan, &args, &needs));
    dj_buffer_destroy(&pool);
    call_finish(&call);
}

const struct CMUnitTest slot_tests[] = {
    HARNESS_TEST(slots_are_checked),
    HARNESS_TEST(maps_without_state_are_checked),
    HARNESS_TEST(device_slots_need_a_pool_in_reach),
};
const size_t slot_test_count = sizeof(slot_tests) / sizeof(*slot_tests);
