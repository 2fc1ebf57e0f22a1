/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Firmware for tests/device/test_vcpu.py: makes a virtual CPU the test's hand. It carries out one
 * access after the other, as the words at HAND say, and counts interrupts. Linked to the last
 * 64 KiB below 4 GiB; 32 bits, flat, no paging.
 *
 *   HAND + 0   command: 0 none, 1 store, 2 load, 3 store again and again while this stays 3
 *   HAND + 4   address
 *   HAND + 8   value
 *   HAND + 16  "up": the loop runs
 *   HAND + 20  an exception: its mark; then the CPU stops
 *   HAND + 32  interrupts of vector 0x50, 0x51, ..., 0x53
 */
	.set HAND, 0x1000
	.set STACK, 0x8000
	.set LAPIC, 0xfee00000

	.section .text, "ax"
base:
	.code16
real:
	cli
	lgdtl	%cs:(gdtr - base)
	movl	%cr0, %eax
	orb	$1, %al
	movl	%eax, %cr0
	ljmpl	$8, $protected

	.code32
protected:
	movw	$16, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movl	$STACK, %esp
	lidt	idtr
	/* The old controller is silent, the local one listens. */
	movb	$0xff, %al
	outb	%al, $0x21
	outb	%al, $0xa1
	movl	$0x1ff, LAPIC + 0xf0
	movl	$0, LAPIC + 0x80
	sti
	movl	$0x7075, HAND + 16

next:
	pause
	movl	HAND, %eax
	testl	%eax, %eax
	jz	next
	movl	HAND + 4, %ebx
	movl	HAND + 8, %ecx
	cmpl	$2, %eax
	je	load
	cmpl	$3, %eax
	je	again
	movl	%ecx, (%ebx)
	jmp	done
load:
	movl	(%ebx), %ecx
	movl	%ecx, HAND + 8
done:
	movl	$0, HAND
	jmp	next
again:
	movl	%ecx, (%ebx)
	cmpl	$3, HAND
	je	again
	movl	$0, HAND
	jmp	next

	/*
	 * Back without iret, which KVM does not know where it has to emulate code without paging.
	 * EDX is free for this.
	 */
	.macro	counts number
interrupt\number:
	incl	HAND + 32 + 4 * \number
	movl	$0, LAPIC + 0xb0
	movl	(%esp), %edx
	xchgl	%edx, 8(%esp)
	movl	%edx, 4(%esp)
	addl	$4, %esp
	popfl
	ret
	.endm
	counts	0
	counts	1
	counts	2
	counts	3
exception:
	movl	$0xdead, HAND + 20
	hlt
	jmp	exception

	.balign	8
gdt:
	.quad	0
	.quad	0x00cf9b000000ffff
	.quad	0x00cf93000000ffff
gdtr:
	.word	23
	.long	gdt
	.balign	8
	.macro	gate to
	.word	\to - base, 8, 0x8e00, 0xffff
	.endm
idt:
	.rept	0x50
	gate	exception
	.endr
	gate	interrupt0
	gate	interrupt1
	gate	interrupt2
	gate	interrupt3
idtr:
	.word	0x54 * 8 - 1
	.long	idt

	.org	0xfff0, 0
	.code16
	jmp	real
	.org	0x10000, 0
