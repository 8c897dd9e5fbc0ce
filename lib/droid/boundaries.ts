/**
 * The places at which output may be divided, as offsets in bytes: between lines, characters and escape
 * sequences. Pure.
 */

/** The most bytes of a character in UTF-8. */
export const maxCharacterBytes = 4;

/** An escape sequence is not divided if it starts this close to the end of a piece, in bytes. */
const maxSequenceBytes = 64;

/** The start of the last `count` lines before `end`; 0 if there are fewer. */
export function findTailStart(
	bytes: Buffer,
	end: number,
	count: number,
): number {
	if (count === 0) return end;
	let at = end;
	if (bytes[at - 1] === 0x0a) at--;
	for (let left = count; left > 0; left--) {
		at = at > 0 ? bytes.lastIndexOf(0x0a, at - 1) : -1;
		if (at < 0) return 0;
	}
	return at + 1;
}

/**
 * The greatest length, at most `space`, at which a line may be divided: not within a character, an
 * escape sequence or a CRLF. At least one character; 0 if there is no whole one.
 */
export function findPieceEnd(bytes: Buffer, space: number): number {
	const end =
		findCharacterEnd(bytes, space) ||
		findCharacterEnd(bytes, Math.min(maxCharacterBytes, bytes.length));
	const start = Math.max(1, end - maxSequenceBytes);
	const sequence = bytes.subarray(start, end).indexOf(0x1b);
	if (sequence >= 0) return start + sequence;
	return end > 1 && bytes[end - 1] === 0x0d ? end - 1 : end;
}

// --- internal ---

/** The end of the last whole character within the first `end` bytes. */
function findCharacterEnd(bytes: Buffer, end: number): number {
	for (let back = 1; back < maxCharacterBytes && back <= end; back++) {
		const byte = bytes[end - back] ?? 0;
		if ((byte & 0xc0) === 0x80) continue;
		const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
		return length > back ? end - back : end;
	}
	return end;
}
