/* SPDX-License-Identifier: MIT */
#include "choices.h"

#include <dijiang/attention.h>

#include <stdlib.h>

static uint32_t power_below(uint64_t x, uint32_t most)
{
    uint32_t power = 0;
    while (power < most && x >> (power + 1) > 0)
        power++;
    return power;
}

uint32_t dj_choice_size(uint64_t sequences, uint64_t tokens)
{
    return power_below(tokens, 31) * 16 + power_below(sequences, 15);
}

static const struct dj_choice *find(const struct dj_choice *list, const struct dj_choice_key *key,
                                    uint32_t size)
{
    while (list != NULL &&
           (list->size != size || memcmp(list->key.words, key->words, sizeof key->words) != 0))
        list = list->next;
    return list;
}

const struct dj_choice *dj_choices_find(const struct dj_context *context,
                                        const struct dj_choice_key *key, uint32_t size)
{
    return find(dj_choices_first(context), key, size);
}

const struct dj_choice *dj_choices_add(struct dj_context *context, const struct dj_choice *choice)
{
    struct dj_choice *const made = malloc(sizeof *made);
    if (made == NULL)
        return NULL;
    *made = *choice;
    struct dj_choice *first = atomic_load(&context->choices);
    const struct dj_choice *other;
    do {
        made->next = first;
        other = find(first, &choice->key, choice->size);
    } while (other == NULL && !atomic_compare_exchange_weak(&context->choices, &first, made));
    if (other != NULL)
        free(made);
    return other != NULL ? other : made;
}

const struct dj_choice *dj_choices_first(const struct dj_context *context)
{
    return atomic_load(&context->choices);
}

void dj_choices_free(struct dj_choice *list)
{
    while (list != NULL) {
        struct dj_choice *const next = list->next;
        free(list);
        list = next;
    }
}

void dj_choices_finish(struct dj_context *context)
{
    dj_choices_free(atomic_exchange(&context->choices, NULL));
}

void dj_choices_write(const struct dj_choice *first, struct dj_writer *writer)
{
    uint32_t count = 0;
    for (const struct dj_choice *choice = first; choice != NULL; choice = choice->next)
        count++;
    dj_write_u32(writer, count);
    for (const struct dj_choice *choice = first; choice != NULL; choice = choice->next) {
        for (int i = 0; i < DJ_CHOICE_KEY; i++)
            dj_write_u32(writer, choice->key.words[i]);
        dj_write_u32(writer, choice->size);
        dj_write_u32(writer, choice->family);
    }
}

struct dj_choice *dj_choices_read(struct dj_reader *reader)
{
    struct dj_choice *list = NULL;
    for (uint32_t count = dj_read_u32(reader); count > 0 && !reader->broken; count--) {
        struct dj_choice *const choice = malloc(sizeof *choice);
        if (choice == NULL) {
            dj_reader_starve(reader);
            break;
        }
        choice->next = list;
        list = choice;
        for (int i = 0; i < DJ_CHOICE_KEY; i++)
            choice->key.words[i] = dj_read_u32(reader);
        choice->size = dj_read_u32(reader);
        choice->family = dj_read_u32(reader);
        if (choice->size >= DJ_CHOICE_SIZES ||
            (choice->family != DJ_FAMILY_TILED && choice->family != DJ_FAMILY_RESIDENT))
            reader->broken = true;
    }
    return list;
}
