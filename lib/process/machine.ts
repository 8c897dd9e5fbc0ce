/**
 * This machine: its name, its pid namespace and its boot. The name stays the same if the host name
 * changes, and is unique: with the same name, the tasks of another machine would count as lost.
 */
import {
	constants,
	fstatSync,
	linkSync,
	lstatSync,
	readFileSync,
	unlinkSync,
	writeFileSync,
} from "node:fs";
import { errorCode, errorMessage } from "../error.ts";
import type { Identity } from "../task/schema.ts";
import {
	captureOutput,
	hasProc,
	readKernel,
	readKernelLink,
	readProcFile,
	UnknownError,
	withOpenFile,
} from "./system.ts";

/** The boot id of a system that reports none. It cannot be compared to another boot id. */
export const noBoot = "unknown";

let ownMachine: Pick<Identity, "machine" | "boot"> | undefined;

/**
 * This machine (on Linux with the pid namespace) and its boot.
 * @throws UnknownError if they cannot be read.
 */
export function identifyMachine(): Pick<Identity, "machine" | "boot"> {
	if (ownMachine) return ownMachine;
	const name = readName();
	const namespace = hasProc()
		? `:${readKernelLink("/proc/self/ns/pid").replace(/\D/g, "")}`
		: "";
	ownMachine = { machine: name + namespace, boot: readBoot() };
	return ownMachine;
}

/** The pid namespace in a machine's name; undefined on systems without namespaces. */
export const namespaceOf = (machine: string): string | undefined =>
	machine.split(":")[1];

/** Describes the machine or the pid namespace of a process that is elsewhere. */
export function describeMachine(machine: string): string {
	const [host, namespace] = machine.split(":");
	return isThisHost(`${host}:`)
		? `in another pid namespace (${namespace})`
		: `on ${host}`;
}

// --- internal ---

function isThisHost(prefix: string): boolean {
	try {
		return identifyMachine().machine.startsWith(prefix);
	} catch {
		return false;
	}
}

const namePattern = /^[0-9a-f]{32}$/;

/** The name of this machine: the system's id, else one that bg wrote, else the host name. */
function readName(): string {
	if (process.platform === "darwin") return readPlatformUuid();
	const id = readProcFile("/etc/machine-id")?.trim() ?? "";
	// An image that was never booted has an empty file, or "uninitialized".
	if (namePattern.test(id)) return id;
	return readOwnName() ?? process.getBuiltinModule("node:os").hostname();
}

/** macOS: IOPlatformUUID of ioreg(8). */
function readPlatformUuid(): string {
	const args = ["-rd1", "-c", "IOPlatformExpertDevice"];
	const output = captureOutput("/usr/sbin/ioreg", args);
	const uuid = /"IOPlatformUUID" = "([0-9A-Fa-f-]{36})"/.exec(output)?.[1];
	if (uuid) return uuid.toLowerCase();
	throw new UnknownError("ioreg reports no IOPlatformUUID");
}

/** A folder on a local disk that survives a boot. Machines may share a store or a home. */
const ownFolder = "/var/tmp";

/** Errors that do not pass: the folder takes no file. */
const refusals = ["EACCES", "ENOENT", "ENOTDIR", "EPERM", "EROFS"];

/**
 * Reads the name that bg wrote for this machine, one for each user; writes it if there is none.
 * @returns undefined if the folder takes no file, or if another user made the file or could change it.
 * @throws UnknownError if it cannot be read or written for another reason.
 */
function readOwnName(): string | undefined {
	const uid = process.geteuid?.() ?? 0;
	const path = `${ownFolder}/bg-machine-id-${uid}`;
	const status = readKernel(path, () =>
		lstatSync(path, { throwIfNoEntry: false }),
	);
	if (!status && !writeOwnName(path)) return undefined;
	const name = readKernel(path, () => readTrusted(path, uid));
	return name && namePattern.test(name) ? name : undefined;
}

/** Reads a small file; undefined if it is not a file that only `uid` can write. */
function readTrusted(path: string, uid: number): string | undefined {
	const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
	if (lstatSync(path).isSymbolicLink()) return undefined;
	return withOpenFile(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, (fd) => {
		const status = fstatSync(fd);
		const isOurs = status.uid === uid && !(status.mode & 0o022);
		if (!isOurs || !status.isFile() || status.size > 100) return undefined;
		return readFileSync(fd, "utf8").trim();
	});
}

/** Writes a new name, unless another process does so first. Returns whether the folder takes files. */
function writeOwnName(path: string): boolean {
	const name = crypto.randomUUID().replaceAll("-", "");
	const temporary = `${path}.${name}`;
	try {
		writeFileSync(temporary, `${name}\n`, { mode: 0o600, flag: "wx" });
		try {
			linkSync(temporary, path);
		} catch (error) {
			if (errorCode(error) !== "EEXIST") throw error;
		} finally {
			unlinkSync(temporary);
		}
		return true;
	} catch (cause) {
		if (refusals.includes(errorCode(cause) ?? "")) return false;
		const problem = `${path} cannot be written (${errorMessage(cause)})`;
		throw new UnknownError(problem, { cause });
	}
}

/** The boot id of the kernel. */
function readBoot(): string {
	const macArgs = ["-n", "kern.bootsessionuuid"];
	if (process.platform === "darwin")
		return captureOutput("/usr/sbin/sysctl", macArgs).trim();
	const path = "/proc/sys/kernel/random/boot_id";
	const id = readProcFile(path)?.trim();
	if (id === undefined) return noBoot;
	if (/^[0-9a-f-]{36}$/.test(id)) return id;
	throw new UnknownError(`${path} holds no boot id`);
}
