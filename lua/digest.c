/*
** digest.c - SHA-256, for Lua: names that do not reveal what they stand for.
**
**   core.sha256(text)              Returns the digest of a text of less than 4 MiB, as 64
**                                  hexadecimal digits.
*/
#include "core.h"

#include <string.h>

enum { BLOCK = 64, WORDS = 8, ROUNDS = 64 };

static const uint32_t constants[ROUNDS] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
    0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
    0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
    0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
    0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
    0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
    0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
    0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
    0xc67178f2};

static uint32_t rotate(uint32_t word, int by) {
  return word >> by | word << (32 - by);
}

static void expand(uint32_t w[static ROUNDS], const unsigned char *block) {
  for (int i = 0; i < 16; i++, block += 4)
    w[i] = (uint32_t)block[0] << 24 | (uint32_t)block[1] << 16 | (uint32_t)block[2] << 8 |
           block[3];
  for (int i = 16; i < ROUNDS; i++) {
    uint32_t near = w[i - 2], far = w[i - 15];
    w[i] = w[i - 16] + (rotate(far, 7) ^ rotate(far, 18) ^ far >> 3) + w[i - 7] +
           (rotate(near, 17) ^ rotate(near, 19) ^ near >> 10);
  }
}

static void add_block(uint32_t state[static WORDS], const unsigned char *block) {
  uint32_t w[ROUNDS], s[WORDS];
  expand(w, block);
  memcpy(s, state, sizeof s);
  for (int i = 0; i < ROUNDS; i++) {
    uint32_t chosen = (s[4] & s[5]) ^ (~s[4] & s[6]);
    uint32_t majority = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);
    uint32_t first = s[7] + (rotate(s[4], 6) ^ rotate(s[4], 11) ^ rotate(s[4], 25)) +
                     chosen + constants[i] + w[i];
    uint32_t second = (rotate(s[0], 2) ^ rotate(s[0], 13) ^ rotate(s[0], 22)) + majority;
    memmove(s + 1, s, (WORDS - 1) * sizeof *s);
    s[4] += first;
    s[0] = first + second;
  }
  for (int i = 0; i < WORDS; i++)
    state[i] += s[i];
  explicit_bzero(w, sizeof w);
}

/* The last blocks hold the rest of the text, a bit that is set, and the length in bits. */
static void add_end(uint32_t state[static WORDS], const unsigned char *rest,
                    size_t length) {
  unsigned char end[2 * BLOCK] = {0};
  size_t left = length % BLOCK, size = left + 9 > BLOCK ? 2 * BLOCK : BLOCK;
  memcpy(end, rest, left);
  end[left] = 0x80;
  for (int i = 0; i < 4; i++)
    end[size - 1 - (size_t)i] = (unsigned char)(length * 8 >> 8 * i & 0xff);
  for (size_t at = 0; at < size; at += BLOCK)
    add_block(state, end + at);
  explicit_bzero(end, sizeof end); /* the text may be a secret */
}

static int core_sha256(lua_State *L) {
  static const char digits[] = "0123456789abcdef";
  uint32_t state[WORDS] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                           0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  char hex[8 * WORDS];
  size_t length, at = 0;
  const unsigned char *text = (const void *)luaL_checklstring(L, 1, &length);
  luaL_argcheck(L, length < 4u << 20, 1, "too long");
  for (; length - at >= BLOCK; at += BLOCK)
    add_block(state, text + at);
  add_end(state, text + at, length);
  for (size_t i = 0; i < sizeof hex; i++)
    hex[i] = digits[state[i / 8] >> (28 - i % 8 * 4) & 0xf];
  lua_pushlstring(L, hex, sizeof hex);
  return 1;
}

void leat__open_digest(lua_State *L) {
  static const luaL_Reg functions[] = {{"sha256", core_sha256}, {NULL, NULL}};
  leat__set_functions(L, CLIENT_TYPE, functions);
}
