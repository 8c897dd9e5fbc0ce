/** The configuration of a cluster: slurm.conf(5) and cgroup.conf(5). */

export type ClusterOptions = {
	/** How many nodes (3). Each has 4 CPUs and 4,000 MB. */
	nodes?: number;
	/** Whether the processes of jobs are tracked by cgroups, if this machine has them (true). */
	cgroups?: boolean;
	/** More lines of slurm.conf(5); the last one of a name counts. */
	config?: Record<string, string | number>;
	/** More partitions: `PartitionName=…` without the keyword. */
	partitions?: string[];
};

export const cgroupConfig = `CgroupPlugin=cgroup/v1
ConstrainRAMSpace=yes
ConstrainSwapSpace=yes
`;

export function buildConfig({
	folder,
	nodes,
	ports,
	proctrack,
	options,
}: {
	folder: string;
	nodes: readonly string[];
	ports: readonly number[];
	proctrack: string;
	options: ClusterOptions;
}): string {
	const settings: Record<string, string | number> = {
		ClusterName: "bg",
		SlurmctldHost: "localhost(127.0.0.1)",
		SlurmctldPort: ports[0] ?? 0,
		SlurmUser: "root",
		AuthInfo: `socket=${folder}/munge.socket`,
		StateSaveLocation: `${folder}/state`,
		SlurmdSpoolDir: `${folder}/%n`,
		SlurmctldPidFile: `${folder}/controller.pid`,
		SlurmdPidFile: `${folder}/%n.pid`,
		SlurmctldLogFile: `${folder}/controller.log`,
		SlurmdLogFile: `${folder}/%n.log`,
		ProctrackType: `proctrack/${proctrack}`,
		...(proctrack === "cgroup" && { TaskPlugin: "task/cgroup" }),
		SelectType: "select/cons_tres",
		SelectTypeParameters: "CR_CPU_Memory",
		DefMemPerCPU: 500,
		SchedulerParameters: "batch_sched_delay=0,sched_interval=2,bf_interval=2",
		SlurmdTimeout: 5,
		SlurmdParameters: "config_overrides",
		PreemptType: "preempt/partition_prio",
		PreemptMode: "REQUEUE",
		JobCompType: "jobcomp/filetxt",
		JobCompLoc: `${folder}/jobcomp.log`,
		...options.config,
	};
	const each = "NodeHostname=localhost NodeAddr=127.0.0.1 CPUs=4";
	return [
		...Object.entries(settings).map(([key, value]) => `${key}=${value}`),
		...nodes.map(
			(name, index) =>
				`NodeName=${name} ${each} RealMemory=4000 Port=${ports[index + 1]}`,
		),
		"PartitionName=main Nodes=ALL Default=YES PriorityTier=1 DefaultTime=60",
		"PartitionName=urgent Nodes=ALL PriorityTier=9",
		...(options.partitions ?? []).map((line) => `PartitionName=${line}`),
		"",
	].join("\n");
}
