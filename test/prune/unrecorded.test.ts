/** Reading writes nothing, and a state that cannot be recorded is marked in every answer. */
import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { readTaskRow } from "../../lib/cli/task-rows.ts";
import { readOutputText } from "../../lib/droid/pages.ts";
import { identifySelf } from "../../lib/process/identity.ts";
import { checkSupervision } from "../../lib/prune/supervision.ts";
import { openStore } from "../../lib/store/directory.ts";
import { outputFile } from "../../lib/store/paths.ts";
import { findTask, iterateTasks, readTask } from "../../lib/store/records.ts";
import { namespace } from "../tools/faults.ts";
import { program, type Sandbox, sandbox, snapshot } from "../tools/harness.ts";
import { addTask } from "../tools/hooks.ts";
import { handOver, setFolderModes } from "../tools/namespaces.ts";

const dead = { ...identifySelf(), start: "999999999999" };

/** Each returns an argv prefix that runs a command for which the store cannot be written. */
const protections = {
	"without write permission": async (box: Sandbox) => {
		await setFolderModes(box, "500");
		return handOver(box);
	},
	"on a read-only mount": async (box: Sandbox) => {
		const mount =
			'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"';
		return [...namespace, "sh", "-c", mount, box.dir];
	},
};

test.each(Object.entries(protections))(
	"in a store %s a lost task is shown as lost and not recorded",
	async (_, protect) => {
		const box = sandbox();
		const store = openStore({ dir: box.dir, write: true });
		const id = addTask(store, { supervisor: dead, process: dead });
		writeFileSync(outputFile(store, id), "half of it\n");
		const argv = [...(await protect(box)), ...program];
		const before = snapshot(box.dir);
		const lost = { status: "error", recorded: false };
		const json = async (...args: string[]) =>
			(await box.bg([...args, "--json"], { argv })).json();
		const text = async (...args: string[]) => {
			const { stdout, error } = await box.bg(args, { argv });
			return stdout + error;
		};
		expect((await json("list")).tasks).toMatchObject([{ id, ...lost }]);
		expect((await json("list", "--full")).tasks).toMatchObject([lost]);
		expect(await json("status", id)).toMatchObject({ ...lost, reason: "lost" });
		expect((await json("wait", id)).tasks).toMatchObject([lost]);
		expect((await json("output", id)).tasks).toMatchObject([
			{ ...lost, output: "half of it\n" },
		]);
		for (const verb of [["list"], ["status", id], ["wait", id]])
			expect(await text(...verb, "--text")).toContain("not recorded");
		expect(await text("output", id, "--text")).toContain("(not recorded)");
		expect(await text("report")).toContain("not recorded");
		expect(snapshot(box.dir)).toEqual(before);
	},
);

test("a recorded state is shown without a mark", async () => {
	const box = sandbox();
	const store = openStore({ dir: box.dir, write: true });
	const id = addTask(store, { supervisor: dead, process: dead });
	const task = (await box.bg(["status", id])).json();
	expect(task).toMatchObject({ status: "error", reason: "lost" });
	expect(task).not.toHaveProperty("recorded");
	expect(task).not.toHaveProperty("note");
	expect(box.record(id)).toMatchObject({ status: "error", reason: "lost" });
});

test("reading records, rows and outputs writes nothing, also for lost tasks", () => {
	const box = sandbox();
	const store = openStore({ dir: box.dir, write: true });
	const ids = [
		addTask(store, { kind: "command", supervisor: dead, process: dead }),
		addTask(store, { status: "queued", supervisor: dead }),
		addTask(store, { kind: "command", supervisor: identifySelf() }),
	];
	for (const id of ids) writeFileSync(outputFile(store, id), "words\n");
	const before = snapshot(box.dir);
	expect(ids.map((id) => findTask(store, id)?.id)).toEqual(ids);
	expect(ids.map((id) => checkSupervision(readTask(store, id)))).toEqual([
		"lost",
		"lost",
		"watched",
	]);
	const tasks = [...iterateTasks(store)];
	const rows = tasks.map((task) => readTaskRow(store, task));
	expect(rows.map(({ status }) => status).toSorted()).toEqual([
		"queued",
		"running",
		"running",
	]);
	for (const task of tasks)
		expect(readOutputText(store, task, { max: 100 }).output).toBe("words\n");
	expect(snapshot(box.dir)).toEqual(before);
});
