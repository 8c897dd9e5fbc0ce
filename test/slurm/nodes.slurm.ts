import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { command, toLines } from "../tools/batch.ts";
import { concurrentTest } from "../tools/concurrent.ts";
import { executable, root, until } from "../tools/harness.ts";
import { endOf, treeOf } from "../tools/scripts.ts";
import { clusterBox } from "./box.ts";
import { start } from "./cluster.ts";

const cluster = await start();
afterAll(cluster.end);

test("nothing of bg is needed on the submit host: all of it is killed, and nothing changes", async () => {
	const box = clusterBox(cluster);
	const lines = ["a", "b"].map((name) =>
		command(name, `until test -e go; do sleep .1; done; echo ${name}`, {
			on: "slurm",
		}),
	);
	const answer = await box.bg(["launch", "--batch", "-"], {
		input: toLines([
			...lines,
			command("c", "echo c", { on: "slurm", after: ["a"] }),
		]),
	});
	const ids: string[] = answer.json().tasks.map(({ id }: { id: string }) => id);
	const waiting = box.bg(["wait", ...ids]);
	const [a = "", b = ""] = ids;
	for (const id of [a, b])
		await box.untilTask(id, ({ process }) => process, "its start");
	const onSubmitHost = async () =>
		(await box.sh("login", "ps -eo args | grep -c '[d]ist/bg'")).stdout.trim();
	// That of the wait: a launch leaves nothing. What it starts has its command line for a moment.
	await until(async () => (await onSubmitHost()) === "1", "one process");
	await box.sh("login", "kill -9 -1");
	await waiting;
	const alive = [a, b].flatMap((id) => treeOf(id));
	expect(alive.length).toBeGreaterThan(1);
	await box.sh("login", "touch go");
	expect(await box.bg(["wait", ...ids])).toMatchObject({ code: 0 });
	expect(ids.map((id) => box.record(id).result)).toEqual(["a", "b", "c"]);
});

describe("a node without", () => {
	/** Hides a folder on a node while a task runs there. */
	const hiding = async (
		box: ReturnType<typeof clusterBox>,
		{ node, folder }: { node: string; folder: string },
		act: () => Promise<void>,
	) => {
		const mounted = await box.sh(node, `mount -t tmpfs none ${folder}`);
		expect(mounted).toMatchObject({ code: 0 });
		try {
			await act();
		} finally {
			await box.sh(node, `umount ${folder}`);
		}
	};

	concurrentTest("bg is named in the end of the task", async () => {
		const box = clusterBox(cluster);
		const folder = join(root, "dist");
		await hiding(box, { node: "n1", folder }, async () => {
			const id = await box.submit("true", ["--engine-args", "-w n1"]);
			const { engine, ...task } = await endOf(box, id);
			expect(task).toMatchObject({ status: "error", reason: "engine" });
			expect(task.error).toMatch(
				/^bg is not installed on n1 \(slurm \d+: FAILED\)$/,
			);
			expect(engine).not.toHaveProperty("node");
		});
	});

	concurrentTest("the store says that it must be shared", async () => {
		const box = clusterBox(cluster);
		await box.submit("true");
		await hiding(box, { node: "n2", folder: box.dir }, async () => {
			const id = await box.submit("true", ["--engine-args", "-w n2"]);
			const task = await endOf(box, id);
			expect(task).toMatchObject({ status: "error", reason: "engine" });
			expect(task.error).toMatch(
				/^the folder of tasks does not exist on n2: it must be shared \(slurm \d+: FAILED\)$/,
			);
			const left = await box.sh("n2", `ls -A ${box.dir}`);
			expect(left.stdout).toBe("");
		});
	});

	concurrentTest("droid, or the folder of the task, says that", async () => {
		const box = clusterBox(cluster);
		const folder = join(box.home, "bin");
		const droid = executable(folder, "droid", "#!/bin/sh\nexit 0\n");
		await hiding(box, { node: "n3", folder }, async () => {
			const flags = ["-q", "--on", "slurm", "--engine-args", "-w n3"];
			const env = { BG_DROID: droid };
			const launched = await box.bg(["launch", ...flags, "d", "hi"], { env });
			const id = launched.stdout.trim();
			expect(await endOf(box, id)).toMatchObject({
				status: "error",
				reason: "spawn",
				error: expect.stringMatching(/^never started: .*bin\/droid/),
			});
		});
		const inner = join(folder, "inner");
		executable(inner, "x", "");
		await hiding(box, { node: "n3", folder }, async () => {
			const flags = ["--cwd", inner, "--engine-args", "-w n3"];
			const id = await box.submit("true", flags);
			expect(await endOf(box, id)).toMatchObject({
				status: "error",
				reason: "spawn",
				error: expect.stringMatching(/^never started: .*bin\/inner/),
			});
		});
	});
});

test("a cluster leaves no process, folder, mount or cgroup, also if its user is killed", async () => {
	for (const signal of ["SIGKILL", "SIGTERM", "SIGINT"] as const) {
		const child = Bun.spawn(
			["bun", join(root, "test", "slurm", "cluster.ts"), "1"],
			{ stdin: "pipe", stdout: "pipe", stderr: "inherit" },
		);
		const { value } = await child.stdout.getReader().read();
		const [, folder = ""] =
			/SLURM_CONF=(.*)\/slurm.conf/.exec(new TextDecoder().decode(value)) ?? [];
		expect(readdirSync(folder)).toContain("slurm.conf");
		const find = ["find", "/sys/fs/cgroup", "-name"];
		const hasCgroup = () =>
			Bun.spawnSync([...find, `bg-slurm-${folder.slice(-6)}`]).stdout.length >
			0;
		expect(hasCgroup()).toBe(cluster.proctrack === "cgroup");
		child.kill(signal);
		await child.exited;
		const isLeft = () =>
			existsSync(folder) ||
			hasCgroup() ||
			readdirSync("/proc").some((pid) => {
				try {
					return ["cmdline", "mountinfo"].some((name) =>
						readFileSync(`/proc/${pid}/${name}`, "utf8").includes(folder),
					);
				} catch {
					return false;
				}
			});
		await until(
			() => !isLeft(),
			"nothing left",
			() => folder,
			60_000,
		);
	}
});
