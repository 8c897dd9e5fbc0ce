import { expect, test } from "bun:test";
import {
	existsSync,
	mkdirSync,
	readdirSync,
	readFileSync,
	renameSync,
	rmSync,
	utimesSync,
	writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { claimName, identifySelf } from "../../lib/process/identity.ts";
import { archiveIfDue, archiveTasks } from "../../lib/prune/archive.ts";
import { cleanUpTasks } from "../../lib/prune/cleanup.ts";
import { sweepStore } from "../../lib/prune/garbage.ts";
import { createOnEndMark } from "../../lib/spawn/command.ts";
import { registerDependents } from "../../lib/spawn/dependencies.ts";
import { readLimits } from "../../lib/spawn/limits.ts";
import { enqueue } from "../../lib/spawn/queue.ts";
import { openStore } from "../../lib/store/directory.ts";
import {
	locateOutput,
	readOutputBytes,
	readOutputSize,
} from "../../lib/store/output-files.ts";
import {
	archivedOutput,
	archivedRecord,
	archiveFolder,
	outputFile,
	recordFile,
	type Store,
} from "../../lib/store/paths.ts";
import {
	findTask,
	iterateTasks,
	listTaskIds,
	readRecordVersion,
	readTask,
	updateTask,
} from "../../lib/store/records.ts";
import { expectNotice } from "../../lib/store/sessions/notices.ts";
import {
	indexSession,
	listSessionTasks,
} from "../../lib/store/sessions/session-index.ts";
import { createTaskId } from "../../lib/task/ids.ts";
import type { Task } from "../../lib/task/schema.ts";
import { root, sandbox } from "../tools/harness.ts";
import { addTask } from "../tools/hooks.ts";
import { holdLock } from "../tools/locks.ts";

const longAgo = "2026-01-01T00:00:00.000Z";

/** A process that is gone. */
const gone = { ...identifySelf(), pid: 2 ** 22 + 1, start: "1" };

const ended = {
	status: "completed",
	reason: "exit",
	exit_code: 0,
	completed_at: longAgo,
	supervisor: gone,
	process: gone,
} as const satisfies Partial<Task>;

/** A finished task with an output; `fields` change its record. */
function addFinished(store: Store, fields: Partial<Task> = {}): string {
	const id = addTask(store, { ...ended, ...fields });
	writeFileSync(outputFile(store, id), `output of ${id}\n`);
	return id;
}

const open = (): Store => openStore({ dir: sandbox().dir, write: true });

const outputOf = (store: Store, id: string, attempt?: number) =>
	readOutputBytes(store, id, { from: 0, to: 1000, attempt }).toString();

const isArchived = (store: Store, id: string) =>
	existsSync(archivedRecord(store, id)) && !existsSync(recordFile(store, id));

test("finished tasks past the newest ones move to the archive with all their outputs", () => {
	const store = open();
	const attempts = [{ attempt: 1, error: "exited 1" }];
	const old = addFinished(store, { attempt: 2, attempts });
	writeFileSync(outputFile(store, old, 1), "first try\n");
	const running = addTask(store);
	const newest = [addFinished(store), addFinished(store)];
	expect(archiveTasks(store, { keep: 3 })).toBe(1);
	expect(listTaskIds(store)).toEqual([running, ...newest]);
	const day = new Date().toISOString().slice(0, 10);
	expect(readdirSync(join(store.dir, ".archive", day)).sort()).toEqual([
		`${old}.1.out`,
		`${old}.json`,
		`${old}.out`,
	]);
	expect(readdirSync(store.dir).filter((name) => name.includes(old))).toEqual(
		[],
	);
	expect(readTask(store, old)).toMatchObject({ id: old, attempt: 2 });
	expect(readRecordVersion(store, old)).toBeDefined();
	expect(outputOf(store, old)).toBe(`output of ${old}\n`);
	expect(outputOf(store, old, 1)).toBe("first try\n");
	expect(readOutputSize(store, old, 1)).toBe(10);
	expect(archiveTasks(store, { keep: 3 })).toBe(0);
});

test("an id of the old script, which has no time, is archived as undated", () => {
	const store = open();
	const id = "bg_0123456789ab";
	writeFileSync(
		recordFile(store, id),
		JSON.stringify({ id, status: "completed", completed_at: null }),
	);
	expect(archiveTasks(store, { keep: 0 })).toBe(1);
	expect(readdirSync(join(store.dir, ".archive"))).toEqual(["undated"]);
	expect(readTask(store, id).status).toBe("completed");
});

const now = () => new Date().toISOString();
const alive = identifySelf();

/** What keeps a task in the folder, and how it goes. */
const reasons: Record<
	string,
	{
		fields?: Partial<Task>;
		add?: (store: Store, id: string) => () => void;
	}
> = {
	"it is unfinished": {
		fields: { status: "running", completed_at: undefined },
	},
	"a notice is awaited": {
		add: (store, id) => {
			expectNotice(store, "parent", id);
			return () => rmSync(join(store.dir, ".notices", "parent", id));
		},
	},
	"a notice is due": {
		add: (store, id) => {
			expectNotice(store, "parent", id);
			const entry = join(store.dir, ".notices", "parent", id);
			renameSync(entry, `${entry}.due`);
			return () => rmSync(`${entry}.due`);
		},
	},
	"a hook tells its notice": {
		add: (store, id) => {
			expectNotice(store, "parent", id);
			const entry = join(store.dir, ".notices", "parent", id);
			const claimed = `${entry}.due@${claimName(alive, "1")}`;
			renameSync(entry, claimed);
			return () => rmSync(claimed);
		},
	},
	"its --on-end is pending": {
		fields: { on_end: ["true"] },
		add: (store, id) => {
			createOnEndMark(store, id);
			return () => rmSync(join(store.dir, ".on-end", id));
		},
	},
	"its process lives": { fields: { exit_code: undefined, process: alive } },
	"a process that it left behind lives": {
		fields: { left_behind: [{ pid: process.pid, command: "bun" }] },
	},
	"its supervisor may still write": {
		fields: { supervisor: alive, completed_at: now() },
	},
	"nothing tells whether its process lives": {
		fields: {
			exit_code: undefined,
			process: { ...gone, machine: "far:1", boot: "another" },
		},
	},
	"a task of another launch comes after it": {
		add: (store, id) => {
			const after = { id: createTaskId(), after: [id] } as Task;
			registerDependents(store, [after]);
			return () => rmSync(join(store.dir, ".after", id), { recursive: true });
		},
	},
	"a queued task of its launch comes after it": {
		add: (store, id) => {
			const next = addTask(store, { status: "queued", after: [id] });
			enqueue(store, [readTask(store, next)], readLimits());
			return () => {
				for (const name of readdirSync(join(store.dir, ".queue")))
					rmSync(join(store.dir, ".queue", name));
			};
		},
	},
	"a newer bg wrote it": { fields: { schema: 99 } },
	"its record is locked": {
		add: (store, id) => holdLock(store.dir, id),
	},
	"its record cannot be read": {
		add: (store, id) => {
			const text = readFileSync(recordFile(store, id), "utf8");
			writeFileSync(recordFile(store, id), "{half");
			return () => writeFileSync(recordFile(store, id), text);
		},
	},
	"an older bg wrote an archived task again": {
		add: (store, id) => {
			mkdirSync(archiveFolder(store, id), { recursive: true });
			writeFileSync(archivedRecord(store, id), "{}");
			return () => rmSync(archivedRecord(store, id));
		},
	},
};

test.each(Object.entries(reasons))(
	"a task stays in the folder as long as %s",
	(_, { fields, add }) => {
		const store = open();
		const id = addFinished(store, fields);
		const undo = add?.(store, id);
		const other = addFinished(store);
		archiveTasks(store, { keep: 0 });
		expect(isArchived(store, id)).toBe(false);
		expect(isArchived(store, other)).toBe(true);
		expect(outputOf(store, id)).toBe(`output of ${id}\n`);
		if (!undo) return;
		undo();
		archiveTasks(store, { keep: 0 });
		expect(isArchived(store, id)).toBe(true);
	},
);

test("a task that has just ended stays, although it was launched first", () => {
	const store = open();
	const long = addFinished(store);
	const [first, second] = [addFinished(store), addFinished(store)];
	// The system stamps files that are written within a few milliseconds with one time.
	const later = Date.now() / 1000 + 1;
	utimesSync(recordFile(store, long), later, later);
	expect(archiveTasks(store, { keep: 1 })).toBe(2);
	expect([long, first, second].map((id) => isArchived(store, id))).toEqual([
		false,
		true,
		true,
	]);
});

test("very many tasks are moved in several calls, and as many as asked for stay", () => {
	const store = open();
	const record = (id: string) =>
		JSON.stringify({ id, status: "completed", completed_at: longAgo });
	const ids = Array.from({ length: 4000 }, () => createTaskId());
	for (const id of ids) writeFileSync(recordFile(store, id), record(id));
	let calls = 0;
	for (; listTaskIds(store).length > 5; calls++) {
		expect(calls).toBeLessThan(1000);
		archiveTasks(store, { keep: 5 });
	}
	expect(calls).toBeGreaterThan(1);
	expect(listTaskIds(store)).toEqual(ids.slice(-5));
});

test("a supervisor that lives for other tasks does not keep a task for ever", () => {
	const store = open();
	const id = addFinished(store, { supervisor: alive });
	expect(archiveTasks(store, { keep: 0 })).toBe(1);
	expect(isArchived(store, id)).toBe(true);
});

test("a call that runs out of time goes on where it stopped, past tasks that stay", () => {
	const store = open();
	const stay = Array.from({ length: 120 }, () =>
		addFinished(store, { schema: 99 }),
	);
	const go = Array.from({ length: 120 }, () => addFinished(store));
	const slices: number[] = [];
	for (let slice = 0; slice < 30 && listTaskIds(store).length > 120; slice++)
		slices.push(archiveTasks(store, { keep: 0, timeoutMs: 0 }));
	expect(slices.slice(0, 2)).toEqual([0, 0]);
	expect(slices.reduce((sum, moved) => sum + moved)).toBe(120);
	expect(listTaskIds(store)).toEqual(stay);
	expect(go.every((id) => isArchived(store, id))).toBe(true);
});

test("a search that left nothing to do is not repeated for some seconds", () => {
	const store = open();
	archiveIfDue(store);
	const { BG_KEEP } = process.env;
	try {
		process.env.BG_KEEP = "1";
		const [old] = [addFinished(store), addFinished(store)];
		archiveIfDue(store);
		expect(isArchived(store, old)).toBe(false);
		rmSync(join(store.dir, ".tmp", "archived"));
		archiveIfDue(store);
		expect(isArchived(store, old)).toBe(true);
	} finally {
		if (BG_KEEP === undefined) delete process.env.BG_KEEP;
		else process.env.BG_KEEP = BG_KEEP;
	}
});

test("while tasks are moved, a reader finds each of them with its output", async () => {
	const store = open();
	const ids = Array.from({ length: 400 }, () => addFinished(store));
	const script = `import { archiveTasks } from ${JSON.stringify(join(root, "lib/prune/archive.ts"))};
	while (archiveTasks({ dir: process.argv[1] }, { keep: 0, timeoutMs: 0 }));`;
	const mover = Bun.spawn(["bun", "-e", script, store.dir], {
		stdio: ["ignore", "inherit", "inherit"],
	});
	const missing = new Set<string>();
	while (mover.exitCode === null) {
		for (const id of ids) {
			if (!findTask(store, id)) missing.add(id);
			if (outputOf(store, id) !== `output of ${id}\n`) missing.add(id);
		}
		const listed = [...iterateTasks(store, [], { archived: true })];
		expect(listed).toHaveLength(ids.length);
		await Bun.sleep(0);
	}
	expect([...missing]).toEqual([]);
	expect(ids.every((id) => isArchived(store, id))).toBe(true);
});

test("an archived task is changed where it is", () => {
	const store = open();
	const id = addFinished(store);
	archiveTasks(store, { keep: 0 });
	updateTask(store, id, (task) => ({ ...task, tags: ["later"] }));
	expect(readTask(store, id).tags).toEqual(["later"]);
	expect(isArchived(store, id)).toBe(true);
	// The supervisor that concludes it late does not write it a second time.
	updateTask(store, id, (task) => ({ ...task, tags: [] }), {
		fallback: readTask(store, id),
	});
	expect(isArchived(store, id)).toBe(true);
});

test("a task that an older bg wrote in the folder again is listed once, as it is there", () => {
	const store = open();
	const id = addFinished(store);
	const text = readFileSync(recordFile(store, id), "utf8");
	archiveTasks(store, { keep: 0 });
	writeFileSync(
		recordFile(store, id),
		text.replace('"completed"', '"cancelled"'),
	);
	const all = [...iterateTasks(store, [], { archived: true })];
	expect(all.map(({ status }) => status)).toEqual(["cancelled"]);
	archiveTasks(store, { keep: 0 });
	expect(readFileSync(archivedRecord(store, id), "utf8")).toBe(text);
	expect(readTask(store, id).status).toBe("cancelled");
});

test("the path of an output is that of the file, not the recorded one", () => {
	const store = open();
	const progress = { toolCalls: 1, outputFile: "/nowhere/x.out" };
	const id = addFinished(store, { kind: "droid", progress });
	expect(readTask(store, id).progress?.outputFile).toBe(outputFile(store, id));
	archiveTasks(store, { keep: 0 });
	const path = archivedOutput(store, id);
	expect(readTask(store, id).progress?.outputFile).toBe(path);
	expect(locateOutput(store, id)).toBe(path);
});

test("cleanup takes tasks off the list and moves none; it deletes in the archive only on request", () => {
	const store = open();
	const [old, newer] = [addFinished(store), addFinished(store)];
	archiveTasks(store, { keep: 1 });
	const options = { dryRun: false };
	expect(cleanUpTasks(store, options).archived).toEqual([newer]);
	expect(isArchived(store, newer)).toBe(false);
	expect(readTask(store, newer).archived_at).toBeDefined();
	expect(readTask(store, old).archived_at).toBeUndefined();
	const deleted = cleanUpTasks(store, { ...options, olderThan: 0 });
	expect(deleted.deleted).toEqual([newer, old]);
	expect(deleted.freedBytes).toBeGreaterThan(0);
	expect(readdirSync(join(store.dir, ".archive"))).toEqual([]);
	expect(listTaskIds(store)).toEqual([]);
});

test("a sweep keeps what belongs to archived tasks", () => {
	const store = open();
	const id = addFinished(store, { droid_session_id: "droid-session" });
	indexSession(store, "droid-session", id);
	archiveTasks(store, { keep: 0 });
	sweepStore(store);
	expect(listSessionTasks(store, "droid-session")).toEqual([id]);
});

test("the index of a session id that an older bg made up goes with the task", () => {
	const store = open();
	const id = addFinished(store, { session_id: "ses_0123456789ab" });
	const folder = join(store.dir, ".sessions", "ses_0123456789ab");
	expect(existsSync(folder)).toBe(true);
	archiveTasks(store, { keep: 0 });
	expect(isArchived(store, id)).toBe(true);
	expect(existsSync(folder)).toBe(false);
});
