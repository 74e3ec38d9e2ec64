/* SPDX-License-Identifier: MIT */
/* A recipe as bytes: FORMAT, the key, geometry, push constants, then the SPIR-V and the table, each
 * behind its length. All numbers are 32 bits, little-endian, but for the words of SPIR-V: those are
 * small and go by 7 bits a byte, the lowest first, the top bit set on all but a word's last byte.
 */
#include "recipe.h"

#include <stdlib.h>

enum {
    FORMAT = 0x31524a44, /* "DJR1" */
    SPIRV_MAGIC = 0x07230203,
    SPIRV_HEADER = 5, /* words */
    MAX_LENGTH = 4096,
};

bool dj_recipe_key_equal(const struct dj_recipe_key *a, const struct dj_recipe_key *b)
{
    return memcmp(a, b, sizeof *a) == 0; /* no padding: 32-bit members only */
}

void dj_recipe_finish(struct dj_recipe *recipe)
{
    free(recipe->words);
    free(recipe->table);
    *recipe = (struct dj_recipe){0};
}

/* OpSourceContinued to OpString, OpLine, OpNoLine and OpModuleProcessed. */
static bool only_names(uint32_t opcode)
{
    return (opcode >= 2 && opcode <= 8) || opcode == 317 || opcode == 330;
}

static bool spirv_is_whole(const uint32_t *words, size_t count)
{
    if (count <= SPIRV_HEADER || words[0] != SPIRV_MAGIC)
        return false;
    size_t i = SPIRV_HEADER;
    while (i < count) {
        const uint32_t length = words[i] >> 16;
        if (length == 0 || length > count - i)
            return false;
        i += length;
    }
    return true;
}

void dj_recipe_strip(struct dj_recipe *recipe)
{
    const size_t count = recipe->words_size / sizeof(uint32_t);
    if (!spirv_is_whole(recipe->words, count))
        return; /* dj_recipe_flaw says so */
    size_t kept = SPIRV_HEADER;
    for (size_t i = SPIRV_HEADER, length; i < count; i += length) {
        length = recipe->words[i] >> 16;
        if (only_names(recipe->words[i] & 0xffff))
            continue;
        memmove(recipe->words + kept, recipe->words + i, length * sizeof(uint32_t));
        kept += length;
    }
    recipe->words_size = kept * sizeof(uint32_t);
}

static bool roles_fit(const struct dj_recipe *recipe)
{
    const uint32_t third = recipe->table_size > 0 ? DJ_RECIPE_TABLE : DJ_RECIPE_UNUSED;
    return recipe->roles[0] == DJ_RECIPE_INPUT && recipe->roles[1] == DJ_RECIPE_OUTPUT &&
           recipe->roles[2] == third && recipe->roles[3] == DJ_RECIPE_UNUSED;
}

/* Without words, nothing. */
static bool is_empty(const struct dj_recipe *recipe)
{
    uint32_t sum = recipe->rows_per_group | recipe->max_rows | recipe->push_size;
    for (int i = 0; i < DJ_RECIPE_BINDINGS; i++)
        sum |= recipe->roles[i];
    return sum == 0 && recipe->table_size == 0;
}

const char *dj_recipe_flaw(const struct dj_recipe *recipe)
{
    const struct dj_recipe_key *const key = &recipe->key;
    const struct dj_recipe_limits *const limits = &key->limits;
    if (key->type < 2 || key->type > 4 || key->length < 4 || key->length > MAX_LENGTH)
        return "its type or length is none";
    if (limits->shared_memory == 0 || limits->max_invocations == 0)
        return "its device has no workgroups";
    if (recipe->words_size == 0)
        return is_empty(recipe) ? NULL : "it has no words, and is not empty";
    if (recipe->rows_per_group == 0 || recipe->rows_per_group > DJ_RECIPE_MAX_GROUP_ROWS)
        return "its workgroups have no or too many rows";
    if (recipe->max_rows == 0 || recipe->max_rows % recipe->rows_per_group != 0 ||
        recipe->max_rows > UINT32_MAX / (key->length * sizeof(float)))
        return "its rows are no whole groups, or beyond 32 bits";
    if (recipe->push_size > DJ_RECIPE_MAX_PUSH || recipe->push_size % 4 != 0)
        return "its push constants do not fit";
    if (recipe->table_size > DJ_RECIPE_MAX_TABLE || recipe->table_size % 4 != 0)
        return "its table is too large, or not of whole numbers";
    if (!roles_fit(recipe))
        return "its bindings are not input, output and table";
    if (recipe->words_size % 4 != 0 || recipe->words_size / 4 > DJ_RECIPE_MAX_WORDS ||
        !spirv_is_whole(recipe->words, recipe->words_size / 4))
        return "its words are not SPIR-V";
    return NULL;
}

/* Bytes of a word, 7 bits each. */
static size_t word_encode(uint32_t word, uint8_t bytes[5])
{
    size_t count = 0;
    for (; word >= 0x80; word >>= 7)
        bytes[count++] = (uint8_t)(word | 0x80);
    bytes[count++] = (uint8_t)word;
    return count;
}

/* The only encoding of a word: no zero bytes at its end, no bits beyond the 32nd. */
static uint32_t word_decode(struct dj_reader *reader)
{
    uint32_t word = 0;
    for (uint32_t shift = 0; shift < 35; shift += 7) {
        const uint8_t *const byte = dj_read_bytes(reader, 1);
        if (byte == NULL)
            return 0;
        if ((shift == 28 && *byte > 0x0f) || (shift > 0 && *byte == 0))
            break;
        word |= (uint32_t)(*byte & 0x7f) << shift;
        if (*byte < 0x80)
            return word;
    }
    reader->broken = true;
    return 0;
}

static size_t words_encoded(const struct dj_recipe *recipe)
{
    uint8_t bytes[5];
    size_t size = 0;
    for (size_t i = 0; i < recipe->words_size / 4; i++)
        size += word_encode(recipe->words[i], bytes);
    return size;
}

static void key_write(const struct dj_recipe_key *key, struct dj_writer *writer)
{
    dj_write_u32(writer, key->generator);
    dj_write_u32(writer, key->type);
    dj_write_u32(writer, key->length);
    dj_write_u32(writer, key->limits.shared_memory);
    dj_write_u32(writer, key->limits.max_invocations);
    for (int i = 0; i < 3; i++)
        dj_write_u32(writer, key->limits.max_size[i]);
    dj_write_u32(writer, key->limits.vendor_id);
}

static void key_read(struct dj_recipe_key *key, struct dj_reader *reader)
{
    key->generator = dj_read_u32(reader);
    key->type = dj_read_u32(reader);
    key->length = dj_read_u32(reader);
    key->limits.shared_memory = dj_read_u32(reader);
    key->limits.max_invocations = dj_read_u32(reader);
    for (int i = 0; i < 3; i++)
        key->limits.max_size[i] = dj_read_u32(reader);
    key->limits.vendor_id = dj_read_u32(reader);
}

void dj_recipe_write(const struct dj_recipe *recipe, struct dj_writer *writer)
{
    dj_write_u32(writer, FORMAT);
    key_write(&recipe->key, writer);
    for (int i = 0; i < DJ_RECIPE_BINDINGS; i++)
        dj_write_u32(writer, recipe->roles[i]);
    dj_write_u32(writer, recipe->rows_per_group);
    dj_write_u32(writer, recipe->max_rows);
    dj_write_u32(writer, recipe->push_size);
    for (uint32_t i = 0; i < recipe->push_size / 4; i++)
        dj_write_u32(writer, recipe->push[i]);
    dj_write_u32(writer, (uint32_t)(recipe->words_size / 4));
    dj_write_u32(writer, (uint32_t)words_encoded(recipe));
    for (size_t i = 0; i < recipe->words_size / 4; i++) {
        uint8_t bytes[5];
        dj_write_bytes(writer, bytes, word_encode(recipe->words[i], bytes));
    }
    dj_write_u32(writer, (uint32_t)recipe->table_size);
    const unsigned char *const table = recipe->table;
    for (size_t i = 0; i < recipe->table_size; i += 4) {
        uint32_t value;
        memcpy(&value, table + i, 4);
        dj_write_u32(writer, value);
    }
}

static void words_read(struct dj_recipe *recipe, struct dj_reader *reader)
{
    const uint32_t count = dj_read_u32(reader);
    const uint32_t size = dj_read_u32(reader);
    struct dj_reader words = {.left = size};
    words.data = dj_read_bytes(reader, size);
    /* a word takes a byte at least: no more memory is asked for than the bytes account for */
    if (words.data == NULL || count > DJ_RECIPE_MAX_WORDS || count > size ||
        (count == 0 && size != 0)) {
        reader->broken = true;
        return;
    }
    if (count == 0)
        return;
    recipe->words = malloc(count * sizeof(uint32_t));
    if (recipe->words == NULL) {
        dj_reader_starve(reader);
        return;
    }
    recipe->words_size = count * sizeof(uint32_t);
    for (uint32_t i = 0; i < count; i++)
        recipe->words[i] = word_decode(&words);
    reader->broken = words.broken || words.left != 0;
}

static void table_read(struct dj_recipe *recipe, struct dj_reader *reader)
{
    const uint32_t size = dj_read_u32(reader);
    if (size == 0)
        return;
    if (size > DJ_RECIPE_MAX_TABLE || size % 4 != 0 || size > reader->left) {
        reader->broken = true;
        return;
    }
    unsigned char *const table = malloc(size);
    if (table == NULL) {
        dj_reader_starve(reader);
        return;
    }
    for (uint32_t i = 0; i < size; i += 4) {
        const uint32_t value = dj_read_u32(reader);
        memcpy(table + i, &value, 4);
    }
    recipe->table = table;
    recipe->table_size = size;
}

void dj_recipe_read(struct dj_recipe *recipe, struct dj_reader *reader)
{
    *recipe = (struct dj_recipe){0};
    if (dj_read_u32(reader) != FORMAT)
        reader->broken = true;
    key_read(&recipe->key, reader);
    for (int i = 0; i < DJ_RECIPE_BINDINGS; i++)
        recipe->roles[i] = dj_read_u32(reader);
    recipe->rows_per_group = dj_read_u32(reader);
    recipe->max_rows = dj_read_u32(reader);
    recipe->push_size = dj_read_u32(reader);
    if (recipe->push_size > DJ_RECIPE_MAX_PUSH || recipe->push_size % 4 != 0)
        reader->broken = true;
    for (uint32_t i = 0; !reader->broken && i < recipe->push_size / 4; i++)
        recipe->push[i] = dj_read_u32(reader);
    words_read(recipe, reader);
    table_read(recipe, reader);
    if (!reader->broken && dj_recipe_flaw(recipe) != NULL)
        reader->broken = true;
    if (reader->broken)
        dj_recipe_finish(recipe);
}
