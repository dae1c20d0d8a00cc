-- Hourly readings taken from {first_day} to before {after_day} that arrive in [since, until).
-- Shelf sensors follow the seasons and opening hours, cold-room sensors stay near 4 degrees; six in a thousand readings
-- arrive hours or days late.

insert into sensor_readings
select
    device_id,
    read_at,
    round(100 * temperature) / 100,
    round(100 * least(98, greatest(12, humidity))) / 100,
    round(100 * pressure) / 100,
    received_at
from (
    select
        device_id,
        read_at,
        received_at,
        case when device_id % 2 = 1
            then 20.5 + 1.4 * sin(radians(15.0 * (hour_of_day - 15))) + 2.0 * sin(radians((day_of_year - 110) * 0.986))
            else 4.0 + 0.5 * sin(radians(45.0 * hour_of_day)) end
            + 1.2 * (noise_share + other_noise_share - 1) + 0.8 * (device_share - 0.5) as temperature,
        case when device_id % 2 = 1
            then 46 + 9 * sin(radians((day_of_year - 120) * 0.986)) else 78 end
            + 10 * (other_noise_share - 0.5) + 6 * (device_share - 0.5) as humidity,
        1013 + 7 * sin(radians(epoch_hour * 2.9 + 31 * store_id)) + 4 * sin(radians(epoch_hour * 0.83 + 77 * store_id))
            + 0.8 * (noise_share - 0.5) as pressure
    from (
        select
            *,
            read_at + case when late_share < 0.006
                then interval '1 hour' + date_trunc('second', interval '10000 hours' * late_share)
                else date_trunc('second', interval '1 second' + interval '40 seconds' * noise_share) end as received_at
        from (
            select
                devices.device_id,
                devices.store_id,
                hours.read_at,
                hours.epoch_hour,
                extract(hour from hours.read_at at time zone stores.time_zone)::double precision as hour_of_day,
                extract(doy from hours.read_at)::double precision as day_of_year,
                pg_temp.unit('device trait', devices.device_id) as device_share,
                pg_temp.unit('reading noise', devices.device_id, hours.epoch_hour) as noise_share,
                pg_temp.unit('reading other noise', devices.device_id, hours.epoch_hour) as other_noise_share,
                pg_temp.unit('reading late', devices.device_id, hours.epoch_hour) as late_share
            from (
                select read_at, (extract(epoch from read_at) / 3600)::bigint as epoch_hour
                from generate_series(
                    {first_day}::timestamptz, {after_day}::timestamptz - interval '1 hour', interval '1 hour'
                ) as instants (read_at)
                offset 0
            ) as hours
            cross join devices
            inner join stores on devices.store_id = stores.store_id
            offset 0
        ) as shares
        offset 0
    ) as taken
    where received_at >= {since} and received_at < {until}
    offset 0
) as measured
order by device_id, read_at
returning received_at - read_at >= interval '1 hour' as is_late
