typedef unsigned int u32; typedef unsigned char u8;
/* sieve + crc + sort-ish, in memory at 0x10000.. */
__attribute__((section(".text.a"))) u32 work(u8 *buf, u32 *arr, u32 rounds) {
  u32 sum = 0;
  for (u32 r = 0; r < rounds; r++) {
    for (u32 i = 0; i < 8192; i++) buf[i] = 1;
    for (u32 i = 2; i * i < 8192; i++) if (buf[i]) for (u32 j = i * i; j < 8192; j += i) buf[j] = 0;
    u32 x = 0x12345678 + r;
    for (u32 i = 0; i < 256; i++) { x ^= x << 13; x ^= x >> 17; x ^= x << 5; arr[i] = x; }
    for (u32 i = 1; i < 256; i++) { u32 v = arr[i]; int j = (int)i - 1; while (j >= 0 && arr[j] > v) { arr[j + 1] = arr[j]; j--; } arr[j + 1] = v; }
    u32 c = ~0u;
    for (u32 i = 0; i < 1024; i++) { c ^= ((u8 *)arr)[i]; for (int k = 0; k < 8; k++) c = c & 1 ? c >> 1 ^ 0xedb88320 : c >> 1; }
    sum = sum * 31 + c;
    for (u32 i = 0; i < 8192; i++) sum += buf[i];
  }
  return sum;
}
