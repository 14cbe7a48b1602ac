# The boot sector of the demonstration disk: prints the memory map that the BIOS gives (INT 15h, AX=E820h) on the screen
# and on the first serial port, and switches the machine off by ACPI.
#
# as --32 boot.s -o boot.o && objcopy -O binary -j .text boot.o boot.bin
        .code16
        .text
start:
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movw    $0x7c00, %sp
        ljmp    $0, $(0x7c00 + flat - start)
flat:
        cld
        sti
        movw    $(0x7c00 + hello - start), %si
        call    puts

# The map, an entry at a time, at 0x7e00: base and length of 8 bytes, type of 4.
        xorl    %ebx, %ebx
entry:
        movl    $0xe820, %eax
        movl    $0x534d4150, %edx
        movl    $20, %ecx
        movw    $0x7e00, %di
        int     $0x15
        jc      end
        cmpl    $0x534d4150, %eax
        jne     end
        movl    0x7e04, %eax
        movl    0x7e00, %edx
        call    put64
        movw    $(0x7c00 + dash - start), %si
        call    puts
        movl    0x7e00, %edx
        movl    0x7e04, %eax
        addl    0x7e08, %edx
        adcl    0x7e0c, %eax
        subl    $1, %edx
        sbbl    $0, %eax
        call    put64
        movw    $(0x7c00 + ram - start), %si
        cmpl    $1, 0x7e10
        je      known
        movw    $(0x7c00 + reserved - start), %si
        cmpl    $2, 0x7e10
        je      known
        movw    $(0x7c00 + other - start), %si
known:
        call    puts
        testl   %ebx, %ebx
        jnz     entry
end:
        movw    $(0x7c00 + bye - start), %si
        call    puts

# S5: SLP_TYP 0 and SLP_EN to PM1 control, which is 4 bytes after what PMBASE of the PIIX4 says.
        movw    $0xcf8, %dx
        movl    $0x80000b40, %eax
        outl    %eax, %dx
        movw    $0xcfc, %dx
        inl     %dx, %eax
        andw    $0xffc0, %ax
        addw    $4, %ax
        movw    %ax, %dx
        movw    $0x2000, %ax
        outw    %ax, %dx
halt:
        hlt
        jmp     halt

# Prints EAX and EDX, high and low.
put64:
        call    put32
        movl    %edx, %eax
put32:
        movw    $8, %cx
digit:
        roll    $4, %eax
        pushl   %eax
        andb    $0xf, %al
        cmpb    $10, %al
        jb      decimal
        addb    $('a' - '0' - 10), %al
decimal:
        addb    $'0', %al
        call    putc
        popl    %eax
        loop    digit
        ret

# Prints the text at SI up to its zero.
puts:
        lodsb
        testb   %al, %al
        jz      back
        call    putc
        jmp     puts

# Prints AL.
putc:
        pushal
        pushw   %ax
        movw    $7, %bx
        movb    $0x0e, %ah
        int     $0x10
        movw    $0x3fd, %dx
        movw    $0xffff, %cx
wait:
        inb     %dx, %al
        testb   $0x20, %al
        loopz   wait
        popw    %ax
        movw    $0x3f8, %dx
        outb    %al, %dx
        popal
back:
        ret

hello:  .asciz  "The BIOS says that the memory is:\r\n"
dash:   .asciz  "-"
ram:    .asciz  " RAM\r\n"
reserved: .asciz " reserved\r\n"
other:  .asciz  " other\r\n"
bye:    .asciz  "Good bye.\r\n"
        .org    510
        .byte   0x55, 0xaa
