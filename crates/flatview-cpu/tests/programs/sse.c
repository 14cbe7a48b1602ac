/*
 * All of SSE2 that compilers have intrinsics for, each on two registers. The test executes `run`:
 *   gcc -O2 -msse2 -mno-sse3 -ffreestanding -fno-pic -fno-stack-protector -fcf-protection=none \
 *       -fno-asynchronous-unwind-tables -c sse.c, linked at 0x200000 as a flat binary: sse.bin
 * and compares with what a real processor computes: gcc -O2 -msse2 -mno-sse3 -DHOST sse.c.
 */
#include <emmintrin.h>
typedef unsigned char u8; typedef unsigned long u64;
#define OPS(X) \
X(_mm_add_epi8) X(_mm_add_epi16) X(_mm_add_epi32) X(_mm_add_epi64) X(_mm_sub_epi8) X(_mm_sub_epi16) X(_mm_sub_epi32) X(_mm_sub_epi64) \
X(_mm_adds_epi8) X(_mm_adds_epi16) X(_mm_adds_epu8) X(_mm_adds_epu16) X(_mm_subs_epi8) X(_mm_subs_epi16) X(_mm_subs_epu8) X(_mm_subs_epu16) \
X(_mm_min_epu8) X(_mm_max_epu8) X(_mm_min_epi16) X(_mm_max_epi16) X(_mm_avg_epu8) X(_mm_avg_epu16) \
X(_mm_cmpeq_epi8) X(_mm_cmpeq_epi16) X(_mm_cmpeq_epi32) X(_mm_cmpgt_epi8) X(_mm_cmpgt_epi16) X(_mm_cmpgt_epi32) \
X(_mm_mullo_epi16) X(_mm_mulhi_epi16) X(_mm_mulhi_epu16) X(_mm_mul_epu32) X(_mm_madd_epi16) X(_mm_sad_epu8) \
X(_mm_and_si128) X(_mm_andnot_si128) X(_mm_or_si128) X(_mm_xor_si128) \
X(_mm_unpacklo_epi8) X(_mm_unpacklo_epi16) X(_mm_unpacklo_epi32) X(_mm_unpacklo_epi64) X(_mm_unpackhi_epi8) X(_mm_unpackhi_epi16) X(_mm_unpackhi_epi32) X(_mm_unpackhi_epi64) \
X(_mm_packs_epi16) X(_mm_packs_epi32) X(_mm_packus_epi16) \
X(sl16) X(sl32) X(sl64) X(sr16) X(sr32) X(sr64) X(sa16) X(sa32) X(sli) X(sri) X(bl) X(br) X(shd) X(shlw) X(shhw) X(shps) X(shpd) X(movmsk) X(ins) \
X(PS(_mm_add_ps)) X(PS(_mm_sub_ps)) X(PS(_mm_mul_ps)) X(PS(_mm_div_ps)) X(PS(_mm_min_ps)) X(PS(_mm_max_ps)) X(PS(_mm_add_ss)) X(PS(_mm_sub_ss)) X(PS(_mm_mul_ss)) X(PS(_mm_div_ss)) X(PS(_mm_min_ss)) X(PS(_mm_max_ss)) \
X(PD(_mm_add_pd)) X(PD(_mm_sub_pd)) X(PD(_mm_mul_pd)) X(PD(_mm_div_pd)) X(PD(_mm_min_pd)) X(PD(_mm_max_pd)) X(PD(_mm_add_sd)) X(PD(_mm_sub_sd)) X(PD(_mm_mul_sd)) X(PD(_mm_div_sd)) X(PD(_mm_min_sd)) X(PD(_mm_max_sd)) X(PD(_mm_sqrt_sd)) \
X(PS(_mm_cmpeq_ps)) X(PS(_mm_cmplt_ps)) X(PS(_mm_cmple_ps)) X(PS(_mm_cmpunord_ps)) X(PS(_mm_cmpneq_ps)) X(PS(_mm_cmpnlt_ps)) X(PS(_mm_cmpnle_ps)) X(PS(_mm_cmpord_ps)) X(PS(_mm_cmplt_ss)) X(PD(_mm_cmplt_pd)) X(PD(_mm_cmpnle_sd)) X(PD(_mm_cmpord_pd)) \
X(PS(_mm_movehl_ps)) X(PS(_mm_movelh_ps)) X(PS(_mm_move_ss)) X(PD(_mm_move_sd)) X(PS(_mm_unpacklo_ps)) X(PD(_mm_unpackhi_pd)) \
X(sqps) X(sqpd) X(cv1) X(cv2) X(cv3) X(cv4) X(cv5) X(cv6) X(cv7) X(cv8) X(cv9) X(cv10) X(cv11) X(cv12) X(cv13) X(cv14) X(cmi) X(ucmi) X(mps) X(mpd) X(ext) X(lohi) X(storeh)
#define I static inline __attribute__((always_inline)) __m128i
#define S(x) _mm_castps_si128(x)
#define T(x) _mm_castsi128_ps(x)
#define D(x) _mm_castpd_si128(x)
#define E(x) _mm_castsi128_pd(x)
#define PS(f) f##_w
#define PD(f) f##_w
#define DPS(f) I f##_w(__m128i a, __m128i b){return S(f(T(a),T(b)));}
#define DPD(f) I f##_w(__m128i a, __m128i b){return D(f(E(a),E(b)));}
DPS(_mm_add_ps) DPS(_mm_sub_ps) DPS(_mm_mul_ps) DPS(_mm_div_ps) DPS(_mm_min_ps) DPS(_mm_max_ps) DPS(_mm_add_ss) DPS(_mm_sub_ss) DPS(_mm_mul_ss) DPS(_mm_div_ss) DPS(_mm_min_ss) DPS(_mm_max_ss)
DPD(_mm_add_pd) DPD(_mm_sub_pd) DPD(_mm_mul_pd) DPD(_mm_div_pd) DPD(_mm_min_pd) DPD(_mm_max_pd) DPD(_mm_add_sd) DPD(_mm_sub_sd) DPD(_mm_mul_sd) DPD(_mm_div_sd) DPD(_mm_min_sd) DPD(_mm_max_sd) DPD(_mm_sqrt_sd)
DPS(_mm_cmpeq_ps) DPS(_mm_cmplt_ps) DPS(_mm_cmple_ps) DPS(_mm_cmpunord_ps) DPS(_mm_cmpneq_ps) DPS(_mm_cmpnlt_ps) DPS(_mm_cmpnle_ps) DPS(_mm_cmpord_ps) DPS(_mm_cmplt_ss) DPD(_mm_cmplt_pd) DPD(_mm_cmpnle_sd) DPD(_mm_cmpord_pd)
DPS(_mm_movehl_ps) DPS(_mm_movelh_ps) DPS(_mm_move_ss) DPD(_mm_move_sd) DPS(_mm_unpacklo_ps) DPD(_mm_unpackhi_pd)
#define CNT _mm_and_si128(b, _mm_set_epi64x(0, 0x4f))
I sl16(__m128i a,__m128i b){return _mm_sll_epi16(a,CNT);} I sl32(__m128i a,__m128i b){return _mm_sll_epi32(a,CNT);} I sl64(__m128i a,__m128i b){return _mm_sll_epi64(a,CNT);}
I sr16(__m128i a,__m128i b){return _mm_srl_epi16(a,CNT);} I sr32(__m128i a,__m128i b){return _mm_srl_epi32(a,CNT);} I sr64(__m128i a,__m128i b){return _mm_srl_epi64(a,CNT);}
I sa16(__m128i a,__m128i b){return _mm_sra_epi16(a,CNT);} I sa32(__m128i a,__m128i b){return _mm_sra_epi32(a,b);}
I sli(__m128i a,__m128i b){return _mm_xor_si128(_mm_slli_epi16(a,3),_mm_xor_si128(_mm_slli_epi32(b,31),_mm_slli_epi64(a,40)));}
I sri(__m128i a,__m128i b){return _mm_xor_si128(_mm_srli_epi16(a,3),_mm_xor_si128(_mm_srai_epi32(b,31),_mm_srai_epi16(a,5)));}
I bl(__m128i a,__m128i b){return _mm_slli_si128(a,5);} I br(__m128i a,__m128i b){return _mm_srli_si128(a,11);}
I shd(__m128i a,__m128i b){return _mm_shuffle_epi32(b,0x1e);} I shlw(__m128i a,__m128i b){return _mm_shufflelo_epi16(b,0x93);} I shhw(__m128i a,__m128i b){return _mm_shufflehi_epi16(b,0x4b);}
I shps(__m128i a,__m128i b){return S(_mm_shuffle_ps(T(a),T(b),0x1b));} I shpd(__m128i a,__m128i b){return D(_mm_shuffle_pd(E(a),E(b),1));}
I movmsk(__m128i a,__m128i b){return _mm_cvtsi32_si128(_mm_movemask_epi8(a));}
I ins(__m128i a,__m128i b){return _mm_insert_epi16(a,_mm_cvtsi128_si32(b),5);}
I ext(__m128i a,__m128i b){return _mm_cvtsi32_si128(_mm_extract_epi16(a,6));}
I sqps(__m128i a,__m128i b){return S(_mm_sqrt_ps(T(b)));} I sqpd(__m128i a,__m128i b){return D(_mm_sqrt_pd(E(b)));}
I cv1(__m128i a,__m128i b){return S(_mm_cvtepi32_ps(b));} I cv2(__m128i a,__m128i b){return _mm_cvtps_epi32(T(b));} I cv3(__m128i a,__m128i b){return _mm_cvttps_epi32(T(b));}
I cv4(__m128i a,__m128i b){return D(_mm_cvtepi32_pd(b));} I cv5(__m128i a,__m128i b){return _mm_cvtpd_epi32(E(b));} I cv6(__m128i a,__m128i b){return _mm_cvttpd_epi32(E(b));}
I cv7(__m128i a,__m128i b){return D(_mm_cvtps_pd(T(b)));} I cv8(__m128i a,__m128i b){return S(_mm_cvtpd_ps(E(b)));} I cv9(__m128i a,__m128i b){return D(_mm_cvtss_sd(E(a),T(b)));} I cv10(__m128i a,__m128i b){return S(_mm_cvtsd_ss(T(a),E(b)));}
I cv11(__m128i a,__m128i b){return D(_mm_cvtsi64_sd(E(a),_mm_cvtsi128_si64(b)));} I cv12(__m128i a,__m128i b){return S(_mm_cvtsi32_ss(T(a),_mm_cvtsi128_si32(b)));}
I cv13(__m128i a,__m128i b){return _mm_set_epi64x(_mm_cvtsd_si64(E(b)),_mm_cvttsd_si64(E(b)));} I cv14(__m128i a,__m128i b){return _mm_set_epi64x(_mm_cvtss_si32(T(b)),_mm_cvttss_si64(T(b)));}
I cmi(__m128i a,__m128i b){return _mm_cvtsi32_si128(_mm_comilt_ss(T(a),T(b))+2*_mm_comieq_sd(E(a),E(b)));}
I ucmi(__m128i a,__m128i b){return _mm_cvtsi32_si128(_mm_ucomigt_ss(T(a),T(b))+2*_mm_ucomineq_sd(E(a),E(b)));}
I mps(__m128i a,__m128i b){return _mm_cvtsi32_si128(_mm_movemask_ps(T(a)));} I mpd(__m128i a,__m128i b){return _mm_cvtsi32_si128(_mm_movemask_pd(E(b)));}
I lohi(__m128i a,__m128i b){double d[3]; _mm_storeu_pd(d,E(b)); *(volatile double*)&d[2]=d[1]; return D(_mm_loadh_pd(_mm_loadl_pd(E(a),d+1),(double*)&d[0]));}
I storeh(__m128i a,__m128i b){double d[2]; _mm_storeh_pd(d,E(a)); _mm_storel_pd(d+1,E(b)); __asm__ volatile(""::"r"(d):"memory"); return _mm_loadu_si128((void*)d);}
__attribute__((section(".text.a"))) void run(const __m128i *in, __m128i *out, u64 n){
  for(u64 i=0;i<n;i++){ __m128i a=in[2*i],b=in[2*i+1];
#define X(f) { __m128i x=a,y=b; __asm__ volatile("":"+x"(x),"+x"(y)); *out++=f(x,y); }
  OPS(X)
  }
}
#ifdef HOST
#include <stdio.h>
#include <stdlib.h>
/* Prints what the test expects: the checksum of what this processor computes. */
int main(void) {
  static __m128i in[600], out[300 * 256];
  u64 x = 88172645463325252ull, sum = 0xcbf29ce484222325ull, count = 0;
  for (u64 i = 0; i < 1200; i++) {
    x ^= x << 13; x ^= x >> 7; x ^= x << 17;
    switch (i / 4 % 4) {
    case 0: ((u64 *)in)[i] = x; break;
    case 1: ((u64 *)in)[i] = (x & 0x800fffffffffffffull) | 0x40e0000000000000ull; break;
    case 2: ((u64 *)in)[i] = (x & 0x807fffff807fffffull) | 0x4300000042000000ull; break;
    case 3: ((u64 *)in)[i] = x & 0xff00ff0080ff7f01ull; break;
    }
  }
  run(in, out, 300);
#undef X
#define X(f) count++;
  OPS(X)
  for (u64 i = 0; i < 300 * count * 16; i++) sum = (sum ^ ((u8 *)out)[i]) * 0x100000001b3ull;
  printf("%lu operations, checksum %#lx\n", count, sum);
}
#endif
