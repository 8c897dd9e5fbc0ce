import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { archiveTasks } from "../../lib/prune/archive.ts";
import { sweepStore } from "../../lib/prune/garbage.ts";
import { openStore } from "../../lib/store/directory.ts";
import { readOutputBytes } from "../../lib/store/output-files.ts";
import { outputFile } from "../../lib/store/paths.ts";
import {
	iterateTasks,
	listTaskIds,
	readTask,
	updateTask,
} from "../../lib/store/records.ts";
import { createSessionId } from "../../lib/task/ids.ts";
import { type Answer, root, sandbox } from "../tools/harness.ts";
import {
	addEnd,
	addTask,
	noticeIn,
	parent,
	readNotices,
	send,
	toolUse,
} from "../tools/hooks.ts";

const crash = ["bun", join(root, "test", "chaos", "crash.mjs")];

test("a launch that is taken back halfway leaves no record without its notice", async () => {
	const box = sandbox();
	const script = join(box.home, "withdraw.ts");
	let answer: Answer;
	let step = 1;
	do {
		const fields = { parent_session_id: parent };
		const ids = [addTask(box, fields), addTask(box, fields)];
		writeFileSync(
			script,
			`import { removeUnlaunchedTasks } from ${JSON.stringify(join(root, "lib/prune/garbage.ts"))};
			removeUnlaunchedTasks({ dir: process.env.BG_DIR }, ${JSON.stringify(ids)});`,
		);
		answer = await box.bg([], {
			argv: crash,
			env: {
				CHAOS_PROGRAM: script,
				CHAOS_CRASH: `verb:${step++}`,
				CHAOS_LOG: join(box.home, "crashes"),
			},
		});
		const left = ids.filter((id) => existsSync(join(box.dir, `${id}.json`)));
		expect(readNotices(box, parent).awaited).toEqual(
			expect.arrayContaining(left),
		);
	} while (answer.code !== 0);
	expect(step).toBeGreaterThan(4);
});

test.each(["status", "output", "wait"])(
	"a session is told of an end, wherever its own %s of it died",
	async (verb) => {
		const box = sandbox();
		const log = join(box.home, "crashes");
		let answer: Answer;
		let step = 1;
		do {
			const id = addEnd(box, parent);
			answer = await box.bg([verb, id, "--json"], {
				argv: crash,
				env: {
					BG_SESSION_ID: parent,
					CHAOS_PROGRAM: join(root, "bg.ts"),
					CHAOS_CRASH: `verb:${step++}`,
					CHAOS_LOG: log,
				},
			});
			const notice = noticeIn(await send(box, toolUse(parent)));
			if (!answer.stdout.endsWith("\n"))
				expect(notice ?? "nothing").toContain(id);
		} while (answer.code !== 0);
		// It did die, after each of its steps but the last.
		expect(existsSync(log)).toBe(true);
		const deaths = readFileSync(log, "utf8").trim().split("\n");
		expect(deaths).toHaveLength(step - 2);
	},
);

test("a move to the archive that is killed at any step loses nothing, and the next one goes on", async () => {
	const box = sandbox();
	const store = openStore({ dir: box.dir, write: true });
	const script = join(box.home, "archive.ts");
	writeFileSync(
		script,
		`import { archiveTasks } from ${JSON.stringify(join(root, "lib/prune/archive.ts"))};
		archiveTasks({ dir: process.env.BG_DIR }, { keep: 0 });`,
	);
	const attempts = [{ attempt: 1, error: "exited 1" }];
	const add = () => {
		const id = addTask(box, {
			status: "completed",
			exit_code: 0,
			attempt: 2,
			attempts,
			// As an older bg made it up: in the index, and not derived from the task's id.
			session_id: createSessionId(),
		});
		writeFileSync(outputFile(store, id), "second\n");
		writeFileSync(outputFile(store, id, 1), "first\n");
		return id;
	};
	const range = { from: 0, to: 100 };
	const isWhole = (id: string) =>
		readTask(store, id).attempt === 2 &&
		readOutputBytes(store, id, range).toString() === "second\n" &&
		readOutputBytes(store, id, { ...range, attempt: 1 }).toString() ===
			"first\n";
	const all: string[] = [];
	const leftByTheDead = new Set<number>();
	let answer: Answer;
	let step = 1;
	do {
		const ids = [add(), add()];
		all.push(...ids);
		answer = await box.bg([], {
			argv: crash,
			env: {
				CHAOS_PROGRAM: script,
				CHAOS_CRASH: `verb:${step++}`,
				CHAOS_LOG: join(box.home, "crashes"),
			},
		});
		expect(all.filter((id) => !isWhole(id))).toEqual([]);
		if (answer.code !== 0) leftByTheDead.add(listTaskIds(store).length);
		const listed = [...iterateTasks(store, [], { archived: true })];
		expect(listed.map(({ id }) => id).sort()).toEqual(all.toSorted());
		// Another process does what the dead one left, and takes over its lock.
		for (const id of ids)
			updateTask(store, id, (task) => ({ ...task, tags: ["seen"] }));
		archiveTasks(store, { keep: 0 });
		expect(listTaskIds(store)).toEqual([]);
		expect(all.filter((id) => !isWhole(id))).toEqual([]);
	} while (answer.code !== 0);
	// It died before, between and after the moves of the two records.
	expect([...leftByTheDead].sort()).toEqual([0, 1, 2]);
	sweepStore(store);
	const left = ["locks", "tmp", "sessions"].flatMap((name) =>
		readdirSync(join(box.dir, `.${name}`)).filter((each) => each !== ".whole"),
	);
	expect(left.sort()).toEqual(["archived"]);
});
