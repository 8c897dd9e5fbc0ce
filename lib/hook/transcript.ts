/** Reads transcripts, which droid names in its payloads. */
import { constants, fstatSync, readSync } from "node:fs";
import { withOpenFile } from "../process/system.ts";

/** The first or the last bytes of a regular file; undefined if it cannot be read. */
export function readBytes(
	path: string | undefined,
	{ from, most }: { from: "start" | "end"; most: number },
): Buffer | undefined {
	if (!path) return undefined;
	const flags = constants.O_RDONLY | constants.O_NONBLOCK;
	try {
		return withOpenFile(path, flags, (fd) => {
			const status = fstatSync(fd);
			if (!status.isFile()) return undefined;
			const length = Math.min(status.size, most);
			const bytes = Buffer.alloc(length);
			const at = from === "start" ? 0 : status.size - length;
			return bytes.subarray(0, readSync(fd, bytes, 0, length, at));
		});
	} catch {
		return undefined;
	}
}
