/*
 * Operations of the x87, each on two numbers of 80 bits, with the rounding and the precision that the input says; the
 * result, the status word and the first bytes of what was stored are compared. The test executes `run`:
 *   gcc -O2 -mno-sse -ffreestanding -fno-pic -fno-stack-protector -fcf-protection=none \
 *       -fno-asynchronous-unwind-tables -c x87.c, linked at 0x200000 as a flat binary: x87.bin
 * A real processor makes the inputs and says what the results are: gcc -O2 -DHOST x87.c.
 */
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned long u64;
#define OPS(X) \
X("faddp") X("fsubp") X("fsubrp") X("fmulp") X("fdivp") X("fdivrp") X("fadd %%st(1),%%st; fstp %%st(1)") X("fsub %%st,%%st(1); fstp %%st(0)") \
X("fstp %%st(1); fsqrt") X("fstp %%st(1); frndint") X("fscale; fstp %%st(1)") X("fprem; fstp %%st(1)") X("fprem1; fstp %%st(1)") X("fxch; fstp %%st(1)") \
X("fstp %%st(1); fchs") X("fstp %%st(1); fabs") X("fxtract; fstp %%st(1); fstp %%st(1)") X("fxtract; fstp %%st; fstp %%st(1)") X("fcompp; fldz") X("fucompp; fld1") X("ftst; fstp %%st(1)") X("fxam; fstp %%st(1)") \
X("fld1; fstp %%st(1); fstp %%st(1)") X("fldpi; fstp %%st(1); fstp %%st(1)") X("fldl2e; fstp %%st(1); fstp %%st(1)") X("fldl2t; fstp %%st(1); fstp %%st(1)") X("fldlg2; fstp %%st(1); fstp %%st(1)") X("fldln2; fstp %%st(1); fstp %%st(1)") \
X("fcomip; fstp %%st; fldz; fld1; fcmovb %%st(1),%%st; fstp %%st(1)") X("fucomi; fcmovu %%st(1),%%st; fstp %%st(1)") \
X("fstps (%0); fstp %%st; flds (%0)") X("fstpl (%0); fstp %%st; fldl (%0)") X("fistps (%0); fstp %%st; filds (%0)") X("fistpl (%0); fstp %%st; fildl (%0)") X("fistpll (%0); fstp %%st; fildll (%0)") X("fbstp (%0); fstp %%st; fbld (%0)") \
X("fstpl (%0); faddl (%0)") X("fstps (%0); fdivrs (%0)") X("fistpl (%0); fimull (%0)") X("fistps (%0); fisubs (%0)") X("fstps (%0); fcomps (%0); fldz") \
X("fstp %%st; fstp %%st; fld %%st(3); fincstp; fdecstp") X("fnstenv (%0); fstp %%st(1)") X("fnsave (%0); frstor (%0); fstp %%st(1)") X("ffree %%st(0); fincstp")
__attribute__((section(".text.a"))) void run(const u8 *in, u8 *out, u64 n, u8 *tmp, u64 only){
  for(u64 i=0;i<n;i++){ const u8 *a=in+32*i,*b=a+16; u16 cw=*(u16*)(a+12) & 0xf00 | 0x7f; if((cw>>8&3)==1) cw|=0x300;
#define X(op) { __builtin_memset(tmp,0,128); u16 sw; __asm__ volatile("fninit; fldcw %4; fldt (%1); fldt (%2); " op "; fnstsw %3; fstpt (%5); fninit" : : "r"(tmp),"r"(a),"r"(b),"m"(sw),"m"(cw),"r"(out) : "memory","st","cc"); *(u16*)(out+10)=sw; *(u16*)(out+12)=*(u16*)tmp; *(u16*)(out+14)=*(u16*)(tmp+8); out+=16; }
  OPS(X)
  }
}
#ifdef HOST
#undef X
#include <stdio.h>
#include <stdlib.h>
#define X(f) #f,
static const char*names[]={OPS(X)};
int main(int c,char**v){ int n=150, k=sizeof names/sizeof*names; u8*in=aligned_alloc(16,32*n),*out=aligned_alloc(16,16*n*k); static u8 tmp[256];
 u64 x=88172645463325252ull;
 #define R (x^=x<<13,x^=x>>7,x^=x<<17)
 for(int i=0;i<2*n;i++){ u64 m=R, k2=R; u16 e; switch(k2%10){case 0: e=R; break; case 1: e=0x7fff|(k2>>20&0x8000); m|=1ull<<63; if(k2>>40&1) m=1ull<<63; break; case 2: e=(k2>>20&0x8000); m&=~(1ull<<63); if(k2>>40&1) m=0; break; case 3: e=0x3fff+(k2>>30)%70|(k2>>20&0x8000); m=(m|1ull<<63)&(~0ull<<((k2>>40)%64)); break; case 4: e=0x3fff-16400+(k2>>30)%40; e&=0x7fff; m|=1ull<<63; break; case 5: e=0x3fff+1000+(k2>>30)%60|(k2>>20&0x8000); m|=1ull<<63; break; case 6: e=0x3fff-1060+(k2>>30)%60|(k2>>20&0x8000); m|=1ull<<63; break; default: e=0x3fff+(int)((k2>>30)%80)-20|(k2>>20&0x8000); m|=1ull<<63;}
  *(u64*)(in+16*i)=m; *(u16*)(in+16*i+8)=e; *(u64*)(in+16*i+10)=0; *(u16*)(in+16*i+12)= (k2>>50&3)?0x300:(u16)(k2>>52); }
 run(in,out,n,tmp,0); FILE*f=fopen("x87.in","wb");fwrite(in,32,n,f);fclose(f); u64 sum=0xcbf29ce484222325ull; for(long i=0;i<16L*n*k;i++) sum=(sum^out[i])*0x100000001b3ull; printf("%d operations, checksum %#lx\n",k,sum); }
#endif
