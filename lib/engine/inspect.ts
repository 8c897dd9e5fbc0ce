/** What `bg doctor` says of the engine. */
import { BgError } from "../error.ts";
import { toLine } from "../print/text.ts";
import type { Store } from "../store/paths.ts";
import { call } from "./programs.ts";
import { createSlurm, readConfig } from "./slurm.ts";

/** Checks that Slurm's programs are there and that its controller answers. `isFaulty`: they are not, or it does not. */
export function inspectEngine(store: Store | undefined): {
	says: string;
	isFaulty: boolean;
} {
	try {
		const programs = ["sbatch", "squeue", "scancel", "scontrol", "sinfo"];
		const versions = programs.map((program) =>
			toLine(call(program, ["--version"]).trim(), 40),
		);
		const config = readConfig();
		const jobs = store && createSlurm(store).countJobs();
		const cluster = toLine(config.get("ClusterName") ?? "", 40);
		const tracking = toLine(config.get("ProctrackType") ?? "", 40);
		const says = [
			`${versions[0]}, cluster ${cluster}: ${jobs ?? 0} jobs of this directory`,
			tracking === "proctrack/cgroup"
				? tracking
				: `${tracking} may leave processes of a job that is over (proctrack/cgroup leaves none)`,
		];
		return { says: says.join("; "), isFaulty: false };
	} catch (error) {
		if (!(error instanceof BgError)) throw error;
		return { says: error.message, isFaulty: true };
	}
}
