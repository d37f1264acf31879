//! How often each part of the API was used.

use firecracker_api::server::ApiRequest;

use super::Counters;

impl Counters {
    /// Counts one request that was understood.
    pub(crate) fn count(&mut self, request: &ApiRequest) {
        let (get, put, patch) = (
            &mut self.get_api_requests,
            &mut self.put_api_requests,
            &mut self.patch_api_requests,
        );
        let count = match request {
            ApiRequest::GetInstance => &mut get.instance_info_count,
            ApiRequest::GetMachineConfig => &mut get.machine_cfg_count,
            ApiRequest::GetMmds => &mut get.mmds_count,
            ApiRequest::GetVersion => &mut get.vmm_version_count,
            ApiRequest::GetMemoryHotplug => &mut get.hotplug_memory_count,
            ApiRequest::InstanceStart | ApiRequest::FlushMetrics | ApiRequest::SendCtrlAltDel => {
                &mut put.actions_count
            }
            ApiRequest::PutBootSource(_) => &mut put.boot_source_count,
            ApiRequest::PutDrive(_) => &mut put.drive_count,
            ApiRequest::PutLogger(_) => &mut put.logger_count,
            // A PUT names every field; a PATCH that does so changes as much.
            ApiRequest::UpdateMachineConfig(change)
                if change.vcpu_count.and(change.mem_size_mib).is_none() =>
            {
                &mut patch.machine_cfg_count
            }
            ApiRequest::UpdateMachineConfig(_) => &mut put.machine_cfg_count,
            ApiRequest::PutCpuConfig(_) => &mut put.cpu_cfg_count,
            ApiRequest::PutMetrics(_) => &mut put.metrics_count,
            ApiRequest::PutNetworkInterface(_) => &mut put.network_count,
            ApiRequest::PutMmds(_) | ApiRequest::PutMmdsConfig(_) => &mut put.mmds_count,
            ApiRequest::PutVsock(_) => &mut put.vsock_count,
            ApiRequest::PutPmem(_) => &mut put.pmem_count,
            ApiRequest::PutSerial(_) => &mut put.serial_count,
            ApiRequest::PutMemoryHotplug(_) => &mut put.hotplug_memory_count,
            ApiRequest::PatchDrive(_) => &mut patch.drive_count,
            ApiRequest::PatchNetworkInterface(_) => &mut patch.network_count,
            ApiRequest::PatchMmds(_) => &mut patch.mmds_count,
            ApiRequest::PatchMemoryHotplug(_) => &mut patch.hotplug_memory_count,
            ApiRequest::PatchPmem(_) => &mut patch.pmem_count,
            _ => return,
        };
        count.up();
    }
}
