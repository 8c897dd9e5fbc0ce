/** A sandbox whose bg runs on a host of a cluster. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import {
	type Answer,
	type CallOptions,
	executable,
	linesOf,
	program,
	type Sandbox,
	sandbox,
} from "../tools/harness.ts";
import type { Cluster } from "./cluster.ts";

/** `host`: the submit host unless it is given. `once`: a launch is not repeated. */
type HostOptions = CallOptions & { host?: string; once?: boolean };

export type ClusterBox = Sandbox & {
	/** Repeats a launch until Slurm answers: on a busy machine it may take more than 3 s. */
	bg: (args: string[], options?: HostOptions) => Promise<Answer>;
	/** Runs a shell command on a host, with the environment of the sandbox. */
	sh: (host: string, text: string) => Promise<Answer>;
	/** Runs a shell script as a task on the cluster and returns its id. */
	submit: (text: string, flags?: string[], env?: object) => Promise<string>;
};

export function clusterBox(cluster: Cluster): ClusterBox {
	const box = sandbox();
	box.env.SLURM_CONF = cluster.env.SLURM_CONF;
	const call = box.bg;
	const bg = (args: string[], options: HostOptions = {}) => {
		const { host = "login", cwd = box.home, argv = program } = options;
		const launch = () =>
			call(args, { ...options, argv: [...cluster.on(host, cwd), ...argv] });
		const isLaunch = /^(run|launch|retry|resume)$/.test(args[0] ?? "");
		return isLaunch && !options.once ? untilAnswered(launch) : launch();
	};
	return Object.assign(box, {
		bg,
		sh: (host: string, text: string) =>
			bg([text], { host, argv: ["sh", "-c"] }),
		submit: async (text: string, flags: string[] = [], env = {}) => {
			const words = ["run", "-q", "--on", "slurm", ...flags, "d", "--"];
			const call = [...words, "sh", "-c", text];
			const { code, error, stdout } = await bg(call, { env: { ...env } });
			if (code !== 0) throw new Error(error);
			return stdout.trim();
		},
	});
}

/** Notes each call of Slurm's programs but sbatch, with its time in ms. Returns a function that lists the calls. */
export function logCalls(box: Sandbox): () => { name: string; at: number }[] {
	const log = join(box.home, "called");
	const bin = join(box.home, "bin");
	for (const name of ["squeue", "scontrol", "sacct", "scancel"])
		executable(
			bin,
			name,
			`#!/bin/sh\necho ${name} $(date +%s%3N) >>${log}\nexec ${Bun.which(name)} "$@"\n`,
		);
	box.env.PATH = `${bin}:${box.env.PATH}`;
	return () =>
		linesOf(log).map((line) => {
			const [name = "", at] = line.split(" ");
			return { name, at: Number(at) };
		});
}

/** The files of a store that a task needs only until its end, or that stand for a launch. */
export const passingFiles = ({ dir }: Pick<Sandbox, "dir">): string[] =>
	readdirSync(dir, { recursive: true, withFileTypes: true })
		.filter((each) => each.isFile())
		.map((each) => join(each.parentPath, each.name).slice(dir.length + 1))
		.filter((name) =>
			/^\.(jobs\/pending|prompts|queue|slots|stops|on-end|locks)/.test(name),
		);

/** Whether a launch was refused because Slurm took too long, whatever it would have said. */
export const isUnanswered = ({ code, error }: Answer) =>
	code === 111 && /does not answer \(\w+ took more than 3 s\)/.test(error);

async function untilAnswered(launch: () => Promise<Answer>): Promise<Answer> {
	for (let tries = 0; ; tries++) {
		const answer = await launch();
		if (tries > 10 || !isUnanswered(answer)) return answer;
	}
}
