/** A cluster without cgroups: Slurm does not end all processes of a job. */
import { afterAll, expect, test } from "bun:test";
import { until } from "../tools/harness.ts";
import { treeOf } from "../tools/scripts.ts";
import { type ClusterBox, clusterBox } from "./box.ts";
import { start } from "./cluster.ts";

const cluster = await start({ nodes: 2, cgroups: false });
afterAll(cluster.end);

const script = "setsid sleep 300 & echo up; wait";

/** Runs a task whose supervisor is killed. It has a process that Slurm does not find. */
async function outlive(box: ClusterBox) {
	const id = await box.submit(script);
	const { process, supervisor, engine } = await box.untilTask(
		id,
		({ process }) => process,
		"its start",
	);
	const node = engine?.node ?? "";
	await until(() => treeOf(id).length >= 2, "its processes");
	await box.sh(node, `kill -9 ${supervisor?.pid}`);
	const job = engine?.job ?? "";
	await until(
		async () => !(await cluster.slurm("squeue", "-h", "-j", job)).trim(),
		"the end of its job",
	);
	return { id, node, job, process };
}

const endSeen = (box: ClusterBox, id: string, host?: string) =>
	until(
		async () => {
			const answer = await box.bg(["status", id], host ? { host } : {});
			return answer.json().completed_at && answer;
		},
		"its end",
		() => JSON.stringify(box.record(id)),
	);

test("processes that may have outlived a killed supervisor are named: from outside by their group", async () => {
	const box = clusterBox(cluster);
	const { id, node, job, process } = await outlive(box);
	await endSeen(box, id);
	expect(box.record(id)).toMatchObject({
		status: "error",
		reason: "engine",
		error: `its supervisor was killed by signal 9 on ${node} (slurm ${job}: FAILED); its process group ${process?.pid} may still run on ${node}`,
	});
	expect(treeOf(id).length).toBeGreaterThanOrEqual(2);
	await endTree(box, id, node, process?.pid);
});

test("on their node those that live are named", async () => {
	const box = clusterBox(cluster);
	const { id, node, job, process } = await outlive(box);
	await endSeen(box, id, node);
	const { error, left_behind } = box.record(id);
	expect(error).toBe(
		`its supervisor was killed by signal 9 on ${node} (slurm ${job}: FAILED)`,
	);
	expect(left_behind).toContainEqual({
		pid: process?.pid ?? 0,
		command: `sh -c ${script}`,
	});
	expect(left_behind?.map(({ command }) => command)).toContain("sleep 300");
	await endTree(box, id, node, process?.pid);
});

test("doctor says so", async () => {
	const box = clusterBox(cluster);
	const { stdout } = await box.bg(["doctor"], { env: { BG_ENGINE: "slurm" } });
	const { checks } = JSON.parse(stdout);
	expect(checks).toContainEqual({
		check: "engine",
		ok: true,
		says: expect.stringMatching(
			/^slurm\S* .*, cluster bg: 0 jobs of this directory; proctrack\/linuxproc may leave processes/,
		),
	});
});

/** Ends the process group that was named, on its node, and what left it. */
async function endTree(
	box: ClusterBox,
	id: string,
	node: string,
	pid: number | undefined,
) {
	expect(await box.sh(node, `kill -9 -${pid}`)).toMatchObject({ code: 0 });
	await until(
		() => !treeOf(id).some(({ command }) => command.startsWith("sh -c")),
		"the end of its process group",
	);
	for (const each of treeOf(id)) globalThis.process.kill(each.pid, "SIGKILL");
}
